import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import test from "node:test";
import { create, fromJson, toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { actor, client, details, stranger } from "./clients.js";
import {
  Color,
  ContainersSchema,
  ContractService,
  EnumsSchema,
  EnumsSpeed,
  FailKind,
  Level,
  OptionalsSchema,
  TextsSchema,
  TimesSchema,
  WidthsSchema,
} from "./gen/contract/v1/contract_pb.js";

const LARGEST = 2n ** 63n - 1n;

// --- values --------------------------------------------------------------------------------------

test("scalars arrive as what they are", async () => {
  const { result } = await client.scalars({
    flag: true,
    number: -LARGEST - 1n,
    ratio: 1e300,
    text: "snø ❄",
    data: Uint8Array.of(0, 255),
  });
  assert.equal(result, String.raw`(True, -9223372036854775808, 1e+300, 'snø ❄', b'\x00\xff')`);
});

test("numbers keep their widths", async () => {
  const value = create(WidthsSchema, {
    plain: -1n,
    i32: -(2 ** 31),
    u32: 2 ** 32 - 1,
    u64: 2n ** 64n - 1n,
    s64: -LARGEST - 1n,
    f64: 1n,
    single: 0.5,
    double: 0.1,
    big: "123456789012345678901234567890",
  });
  const { result } = await client.widths({ value });
  assert.deepEqual(result!.value, value);
  assert.equal(
    result!.asPython,
    "Widths(plain=-1, i32=-2147483648, u32=4294967295, u64=18446744073709551615, " +
      "s64=-9223372036854775808, f64=1, single=0.5, double=0.1, " +
      "big=123456789012345678901234567890)",
  );
});

test("enums go by name", async () => {
  const value = create(EnumsSchema, {
    color: Color.DARK_GREEN,
    level: Level.HIGH,
    speed: EnumsSpeed.FAST,
    colors: [Color.RED, Color.DARK_GREEN],
  });
  const { result } = await client.enums({ value });
  assert.deepEqual(result!.value, value);
  assert.equal(
    result!.asPython,
    "Enums(color=<Color.DARK_GREEN: ('g', 2)>, level=<Level.HIGH: 10>, speed='fast', " +
      "colors=[<Color.RED: 'r'>, <Color.DARK_GREEN: ('g', 2)>])",
  );
});

test("what has no type of its own is written out", async () => {
  const value = create(TextsSchema, {
    price: "19.90",
    share: "1/3",
    id: "12345678-1234-5678-1234-567812345678",
    day: "2024-02-29",
    at: "23:59:00.000001",
    path: "/srv/data",
    host: "192.0.2.1",
  });
  const { result } = await client.texts({ value });
  assert.deepEqual(result!.value, value);
  assert.equal(
    result!.asPython,
    "Texts(price=Decimal('19.90'), share=Fraction(1, 3), " +
      "id=UUID('12345678-1234-5678-1234-567812345678'), day=datetime.date(2024, 2, 29), " +
      "at=datetime.time(23, 59, 0, 1), path=PurePosixPath('/srv/data'), " +
      "host=IPv4Address('192.0.2.1'))",
  );
});

test("times are timestamps and durations", async () => {
  const value = create(TimesSchema, {
    at: { seconds: -1n, nanos: 1000 },
    lasts: { seconds: -1n, nanos: -500_000_000 },
  });
  const { result } = await client.times({ value });
  assert.deepEqual(result!.value, value);
  assert.equal(
    result!.asPython,
    "Times(at=datetime.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=datetime.timezone.utc), " +
      "lasts=datetime.timedelta(days=-1, seconds=86398, microseconds=500000))",
  );
});

test("a time that Python can not hold is refused", async () => {
  const call = client.times({ value: { at: { nanos: 1 }, lasts: {} } });
  const { fields } = await details(call, Code.InvalidArgument);
  assert.equal(fields[0]!.field, "value.at");
});

test("containers hold containers", async () => {
  const value = create(ContainersSchema, {
    grid: [{ items: [1n, 2n] }, {}],
    holes: [{ value: "" }, {}],
    ages: { ann: 7n },
    lists: { odd: { items: [1n, 3n] } },
    byPoint: [
      { key: { x: 0n, y: 0n }, value: "origin" },
      { key: { x: 1n, y: 2n }, value: "there" },
    ],
    unique: [1n, 2n, 3n],
    pair: { item0: "a", item1: 0.5 },
    tree: { name: "root", children: [{ name: "leaf" }] },
  });
  const { result } = await client.containers({ value });
  assert.deepEqual(result!.value, value);
  assert.equal(
    result!.asPython,
    "Containers(grid=[[1, 2], []], holes=['', None], ages={'ann': 7}, lists={'odd': [1, 3]}, " +
      "by_point={Point(x=0, y=0): 'origin', Point(x=1, y=2): 'there'}, unique={1, 2, 3}, " +
      "pair=('a', 0.5), tree=Tree(name='root', children=[Tree(name='leaf', children=[])]))",
  );
});

test("none is no other value", async () => {
  const nothing = create(OptionalsSchema);
  const empty = create(OptionalsSchema, {
    count: 0n,
    text: "",
    level: Level.LOW,
    point: { x: 0n, y: 0n },
    items: {},
  });
  for (const [value, asPython] of [
    [nothing, "Optionals(count=None, text=None, level=None, point=None, items=None)"],
    [empty, "Optionals(count=0, text='', level=<Level.LOW: 0>, point=Point(x=0, y=0), items=[])"],
  ] as const) {
    const { result } = await client.optionals({ value });
    assert.deepEqual(result!.value, value);
    assert.equal(result!.asPython, asPython);
  }
});

test("a union is a oneof", async () => {
  const number = await client.either({ value: { case: "valueInt", value: 0n } });
  assert.deepEqual(number.result, { case: "resultInt", value: 0n });
  const text = await client.either({ value: { case: "valueStr", value: "0" } });
  assert.deepEqual(text.result, { case: "resultStr", value: "0" });
  const point = await client.either({ value: { case: "valuePoint", value: { x: 1n, y: 2n } } });
  assert.ok(point.result.case === "resultPoint" && point.result.value.y === 2n);
  const list = await client.either({ value: { case: "valueIntList", value: {} } });
  assert.ok(list.result.case === "resultIntList" && list.result.value.items.length === 0);
  const none = await client.either({});
  assert.deepEqual(none.result, { case: "resultStr", value: "None" });
});

test("anything that JSON has goes through", async () => {
  const json = { list: [1, 0.5, "x", null, true] };
  const { result } = await client.anything({ value: fromJson(ValueSchema, json) });
  assert.deepEqual(toJson(ValueSchema, result!.value!), json);
  assert.equal(result!.asPython, "{'list': [1, 0.5, 'x', None, True]}");
});

test("what is left out has its default", async () => {
  assert.equal((await client.defaults({})).result, "(7, 'none', <Level.LOW: 0>)");
  const said = await client.defaults({ number: 0n, text: {}, level: Level.HIGH });
  assert.equal(said.result, "(0, None, <Level.HIGH: 10>)");
});

test("any number of arguments is a list and a map", async () => {
  const { result } = await client.variadic({ numbers: [1n, 2n], names: { first: "ann" } });
  assert.equal(result, "((1, 2), {'first': 'ann'})");
});

test("attributes are read and written", async () => {
  await client.setLimit({ value: 5n });
  assert.equal((await client.getLimit({})).result, 5n);
  assert.equal((await client.getLabel({})).result, "contract up to 5");
  await client.setLimit({ value: 100n });
});

// --- streams -------------------------------------------------------------------------------------

test("a generator is a stream", async () => {
  let wanted = 0n;
  for await (const { result } of client.count({ to: 50n })) {
    assert.equal(result, wanted++);
  }
  assert.equal(wanted, 50n);
});

test("a stream ends with the error of its generator", async () => {
  const found: (bigint | undefined)[] = [];
  const read = async () => {
    for await (const { result } of client.count({ to: 101n })) {
      found.push(result);
    }
  };
  const { info } = await details(read(), Code.FailedPrecondition);
  assert.equal(found.length, 100);
  assert.equal(info!.metadata["py_type"], "tests.polyglot.contract.Overdrawn");
});

/** Cancels a stream whose generator sets the event of that name when it is closed. */
async function cancelStream(name: string) {
  const controller = new AbortController();
  const stream = client.endless({ name }, { signal: controller.signal });
  await stream[Symbol.asyncIterator]().next();
  controller.abort();
}

test("cancelling a stream closes its generator", async () => {
  await cancelStream("of TypeScript");
  assert.equal((await client.closed({ name: "of TypeScript" })).result, true);
});

test("a method takes a stream", async () => {
  async function* numbers() {
    yield { numbers: 1n, start: 1000n }; // it goes with the first
    for (let number = 2n; number <= 100n; number++) {
      yield { numbers: number };
    }
  }
  assert.equal((await client.collect(numbers())).result, 6050n);
});

test("a method answers each item of a stream", async () => {
  const sums: bigint[] = [];
  const events = new EventEmitter();
  async function* numbers() {
    for (let number = 0n; number < 4n; number++) {
      const answered = once(events, "answer");
      yield { numbers: number };
      await answered;
    }
  }
  for await (const { result } of client.running(numbers())) {
    sums.push(result!);
    events.emit("answer");
  }
  assert.deepEqual(sums, [0n, 1n, 3n, 6n]);
});

// --- handles -------------------------------------------------------------------------------------

test("a handle is passed back as an argument", async () => {
  const basket = (await client.basket({})).result!;
  assert.equal(basket.typeid, "list");
  const size = async () => (await client.sizeOf({ basket })).result!;
  const before = await size();
  await actor.call({
    handle: basket.id,
    method: "append",
    args: [{ kind: { case: "string", value: "apple" } }],
  });
  assert.equal(await size(), before + 1n);
  await actor.releaseHandle({ handles: [basket.id] });
});

test("a handle of an actor names its typed service", async () => {
  const me = (await client.me({})).result!;
  assert.equal(me.service, ContractService.typeName);
  assert.equal((await client.labelOf({ contract: me })).result, "contract up to 100");
});

test("a released handle is not found", async () => {
  const basket = (await client.basket({})).result!;
  await actor.releaseHandle({ handles: [basket.id] });
  await details(client.sizeOf({ basket }), Code.NotFound);
});

// --- errors --------------------------------------------------------------------------------------

test("a bad argument is named", async () => {
  const missing = await details(client.scalars({ flag: true }), Code.InvalidArgument);
  assert.equal(missing.fields[0]!.field, "number");

  const negative = await details(client.positive({ value: { value: -1n } }), Code.InvalidArgument);
  const { field, description } = negative.fields[0]!;
  assert.equal(field, "value");
  assert.equal(description, "not a valid positive: ValueError: -1 is not positive");
  assert.equal(negative.info!.metadata["executed"], "no");

  for (const level of [99 as Level, Level.UNSPECIFIED]) {
    const { fields } = await details(client.defaults({ level }), Code.InvalidArgument);
    assert.equal(fields[0]!.field, "level");
  }
});

test("an error tells its code and its class", async () => {
  for (const [kind, code, pyType] of [
    [FailKind.DECLARED, Code.FailedPrecondition, "tests.polyglot.contract.Overdrawn"],
    [FailKind.UNDECLARED, Code.Unknown, "KeyError"],
    [FailKind.UNIMPLEMENTED, Code.Unimplemented, "NotImplementedError"],
  ] as const) {
    const { info } = await details(client.fail({ kind }), code);
    assert.equal(info!.domain, "contract.v1.ContractService");
    assert.equal(info!.metadata["py_type"], pyType);
    assert.equal(info!.metadata["executed"], "yes");
  }
});

test("nothing is told without the authkey", async () => {
  await details(stranger.getLimit({}), Code.Unauthenticated);
  const stream = stranger.count({ to: 1n });
  await details(stream[Symbol.asyncIterator]().next(), Code.Unauthenticated);
});

test("a call ends at its deadline", async () => {
  const name = "nothing of TypeScript";
  await details(client.closed({ name }, { timeoutMs: 50 }), Code.DeadlineExceeded);
  await cancelStream(name); // the method goes on waiting
});
