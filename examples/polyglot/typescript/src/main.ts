/** Searches Python's manual, which an actor serves. */
import { type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { dial } from "./dial.js";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ManualService, type SearchRequestSchema, Section } from "./gen/manual/v1/manual_pb.js";
import { ActorService } from "./gen/uactor/v1/actor_pb.js";

const [address, keyfile] = process.argv.slice(2);
if (address === undefined || keyfile === undefined) {
  throw new Error("usage: node build/main.js ADDRESS KEYFILE");
}
const transport = dial(address, keyfile);
const manual = createClient(ManualService, transport);
const actor = createClient(ActorService, transport);

/** A unary call. What is left out of the request has its default in Python. */
async function show(request: MessageInitShape<typeof SearchRequestSchema>) {
  const { result } = await manual.search(request);
  for (const hit of result) {
    console.log(`  ${hit.name}: ${hit.excerpt}`);
  }
}

async function search() {
  console.log("search:");
  const query = "context manager exit exception";
  await show({ query, limit: 2n, section: Section.LANGUAGE });
}

/** Reads a stream of the server to its end. */
async function suggest() {
  const names = [];
  for await (const { result } of manual.suggest({ prefix: "is" })) {
    names.push(result);
  }
  console.log("suggest:", names.join(" "));
}

/** Has a union for a result. */
async function lookUp() {
  for (const name of ["elif", "callable"]) {
    const { result } = await manual.lookUp({ name });
    switch (result.case) {
      case "resultSee":
        console.log(`look up ${name}: see ${result.value.name}`);
        break;
      case "resultDocument":
        console.log(`look up ${name}: in ${Section[result.value.section!]}`);
        break;
    }
  }
}

/** Sends a stream to the server. */
async function ingest() {
  async function* notes() {
    const written = timestampNow();
    const promise = "A promise is to TypeScript what a future is to Python.";
    const channel = "A channel is to a goroutine what an async iterator is to a promise.";
    yield { documents: { name: "promise", text: promise, written } };
    yield { documents: { name: "channel", text: channel, written } };
  }
  const { result } = await manual.ingest(notes());
  console.log(`ingest: ${result!.added} added, ${result!.replaced.length} replaced`);
}

/** Passes a handle back: the set that it names stays in the actor until it is released. */
async function searchWithin() {
  const handle = (await manual.select({ query: "promise" })).result!;
  console.log(`search within a ${handle.typeid} of the actor:`);
  await show({ query: "async iterator", within: handle });
  await actor.releaseHandle({ handles: [handle.id] });
}

/** Shows what an error tells. */
async function fail() {
  try {
    await manual.lookUp({ name: "goto" });
  } catch (error) {
    const failure = ConnectError.from(error);
    console.log(`look up goto: ${Code[failure.code]}`);
    for (const { metadata } of failure.findDetails(ErrorInfoSchema)) {
      console.log(`  raised: ${metadata["py_type"]}\n  executed: ${metadata["executed"]}`);
    }
  }
}

for (const step of [search, suggest, lookUp, ingest, searchWithin, fail]) {
  await step();
}
