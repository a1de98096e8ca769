package contract

import (
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "contract/gen/contract/v1"
	uactor "contract/gen/uactor/v1"
)

// --- values --------------------------------------------------------------------------------------

func TestScalarsArriveAsWhatTheyAre(t *testing.T) {
	seen := must(client.Scalars(keyed(t), &pb.ScalarsRequest{
		Flag:   proto.Bool(true),
		Number: proto.Int64(math.MinInt64),
		Ratio:  proto.Float64(1e300),
		Text:   proto.String("snø ❄"),
		Data:   []byte{0, 255},
	}))(t)
	expect(t, seen.GetResult(), `(True, -9223372036854775808, 1e+300, 'snø ❄', b'\x00\xff')`)
}

func TestNumbersKeepTheirWidths(t *testing.T) {
	sent := &pb.Widths{
		Plain:  proto.Int64(-1),
		I32:    proto.Int32(math.MinInt32),
		U32:    proto.Uint32(math.MaxUint32),
		U64:    proto.Uint64(math.MaxUint64),
		S64:    proto.Int64(math.MinInt64),
		F64:    proto.Uint64(1),
		Single: proto.Float32(0.5),
		Double: proto.Float64(0.1),
		Big:    proto.String("123456789012345678901234567890"),
	}
	back := must(client.Widths(keyed(t), &pb.WidthsRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "Widths(plain=-1, i32=-2147483648, "+
		"u32=4294967295, u64=18446744073709551615, s64=-9223372036854775808, f64=1, "+
		"single=0.5, double=0.1, big=123456789012345678901234567890)")
}

func TestEnumsGoByName(t *testing.T) {
	sent := &pb.Enums{
		Color:  pb.Color_COLOR_DARK_GREEN.Enum(),
		Level:  pb.Level_LEVEL_HIGH.Enum(),
		Speed:  pb.EnumsSpeed_ENUMS_SPEED_FAST.Enum(),
		Colors: []pb.Color{pb.Color_COLOR_RED, pb.Color_COLOR_DARK_GREEN},
	}
	back := must(client.Enums(keyed(t), &pb.EnumsRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "Enums(color=<Color.DARK_GREEN: ('g', 2)>, "+
		"level=<Level.HIGH: 10>, speed='fast', colors=[<Color.RED: 'r'>, <Color.DARK_GREEN: ('g', 2)>])")
}

func TestWhatHasNoTypeOfItsOwnIsWrittenOut(t *testing.T) {
	sent := &pb.Texts{
		Price: proto.String("19.90"),
		Share: proto.String("1/3"),
		Id:    proto.String("12345678-1234-5678-1234-567812345678"),
		Day:   proto.String("2024-02-29"),
		At:    proto.String("23:59:00.000001"),
		Path:  proto.String("/srv/data"),
		Host:  proto.String("192.0.2.1"),
	}
	back := must(client.Texts(keyed(t), &pb.TextsRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "Texts(price=Decimal('19.90'), "+
		"share=Fraction(1, 3), id=UUID('12345678-1234-5678-1234-567812345678'), "+
		"day=datetime.date(2024, 2, 29), at=datetime.time(23, 59, 0, 1), "+
		"path=PurePosixPath('/srv/data'), host=IPv4Address('192.0.2.1'))")
}

func TestTimesAreTimestampsAndDurations(t *testing.T) {
	sent := &pb.Times{
		At:    timestamppb.New(time.Date(1969, 12, 31, 23, 59, 59, 1000, time.UTC)),
		Lasts: durationpb.New(-1500 * time.Millisecond),
	}
	back := must(client.Times(keyed(t), &pb.TimesRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "Times(at=datetime.datetime("+
		"1969, 12, 31, 23, 59, 59, 1, tzinfo=datetime.timezone.utc), "+
		"lasts=datetime.timedelta(days=-1, seconds=86398, microseconds=500000))")
}

func TestATimeThatPythonCanNotHoldIsRefused(t *testing.T) {
	nanosecond := &pb.Times{At: &timestamppb.Timestamp{Nanos: 1}, Lasts: &durationpb.Duration{}}
	_, err := client.Times(keyed(t), &pb.TimesRequest{Value: nanosecond})
	_, request := details(t, err, codes.InvalidArgument)
	expect(t, request.FieldViolations[0].Field, "value.at")
}

func TestContainersHoldContainers(t *testing.T) {
	point := func(x, y int64) *pb.Point { return &pb.Point{X: &x, Y: &y} }
	sent := &pb.Containers{
		Grid:  []*pb.IntList{{Items: []int64{1, 2}}, {}},
		Holes: []*pb.OptionalStr{{Value: proto.String("")}, {}},
		Ages:  map[string]int64{"ann": 7},
		Lists: map[string]*pb.IntList{"odd": {Items: []int64{1, 3}}},
		ByPoint: []*pb.PointStrEntry{
			{Key: point(0, 0), Value: proto.String("origin")},
			{Key: point(1, 2), Value: proto.String("there")},
		},
		Unique: []int64{1, 2, 3},
		Pair:   &pb.StrFloatTuple{Item_0: proto.String("a"), Item_1: proto.Float64(0.5)},
		Tree: &pb.Tree{Name: proto.String("root"), Children: []*pb.Tree{
			{Name: proto.String("leaf")},
		}},
	}
	back := must(client.Containers(keyed(t), &pb.ContainersRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "Containers(grid=[[1, 2], []], "+
		"holes=['', None], ages={'ann': 7}, lists={'odd': [1, 3]}, "+
		"by_point={Point(x=0, y=0): 'origin', Point(x=1, y=2): 'there'}, unique={1, 2, 3}, "+
		"pair=('a', 0.5), tree=Tree(name='root', children=[Tree(name='leaf', children=[])]))")
}

func TestNoneIsNoOtherValue(t *testing.T) {
	for want, sent := range map[string]*pb.Optionals{
		"Optionals(count=None, text=None, level=None, point=None, items=None)": {},
		"Optionals(count=0, text='', level=<Level.LOW: 0>, point=Point(x=0, y=0), items=[])": {
			Count: proto.Int64(0),
			Text:  proto.String(""),
			Level: pb.Level_LEVEL_LOW.Enum(),
			Point: &pb.Point{X: proto.Int64(0), Y: proto.Int64(0)},
			Items: &pb.IntList{},
		},
	} {
		back := must(client.Optionals(keyed(t), &pb.OptionalsRequest{Value: sent}))(t).Result
		expectSeen(t, back.Value, sent, back.GetAsPython(), want)
	}
}

func TestAUnionIsAOneof(t *testing.T) {
	either := func(request *pb.EitherRequest) *pb.EitherResponse {
		t.Helper()
		return must(client.Either(keyed(t), request))(t)
	}
	number := either(&pb.EitherRequest{Value: &pb.EitherRequest_ValueInt{ValueInt: 0}})
	expect(t, number.Result.(*pb.EitherResponse_ResultInt).ResultInt, 0)
	text := either(&pb.EitherRequest{Value: &pb.EitherRequest_ValueStr{ValueStr: "0"}})
	expect(t, text.Result.(*pb.EitherResponse_ResultStr).ResultStr, "0")
	point := either(&pb.EitherRequest{Value: &pb.EitherRequest_ValuePoint{
		ValuePoint: &pb.Point{X: proto.Int64(1), Y: proto.Int64(2)},
	}})
	expect(t, point.Result.(*pb.EitherResponse_ResultPoint).ResultPoint.GetY(), 2)
	list := either(&pb.EitherRequest{Value: &pb.EitherRequest_ValueIntList{ValueIntList: &pb.IntList{}}})
	expect(t, len(list.Result.(*pb.EitherResponse_ResultIntList).ResultIntList.Items), 0)
	none := either(&pb.EitherRequest{})
	expect(t, none.Result.(*pb.EitherResponse_ResultStr).ResultStr, "None")
}

func TestAnythingThatJSONHasGoesThrough(t *testing.T) {
	sent := must(structpb.NewValue(map[string]any{
		"list": []any{1, 0.5, "x", nil, true},
	}))(t)
	back := must(client.Anything(keyed(t), &pb.AnythingRequest{Value: sent}))(t).Result
	expectSeen(t, back.Value, sent, back.GetAsPython(), "{'list': [1, 0.5, 'x', None, True]}")
}

func TestWhatIsLeftOutHasItsDefault(t *testing.T) {
	left := must(client.Defaults(keyed(t), &pb.DefaultsRequest{}))(t)
	expect(t, left.GetResult(), "(7, 'none', <Level.LOW: 0>)")
	said := must(client.Defaults(keyed(t), &pb.DefaultsRequest{
		Number: proto.Int64(0), Text: &pb.OptionalStr{}, Level: pb.Level_LEVEL_HIGH.Enum(),
	}))(t)
	expect(t, said.GetResult(), "(0, None, <Level.HIGH: 10>)")
}

func TestAnyNumberOfArgumentsIsAListAndAMap(t *testing.T) {
	seen := must(client.Variadic(keyed(t), &pb.VariadicRequest{
		Numbers: []int64{1, 2}, Names: map[string]string{"first": "ann"},
	}))(t)
	expect(t, seen.GetResult(), "((1, 2), {'first': 'ann'})")
}

func TestAttributesAreReadAndWritten(t *testing.T) {
	must(client.SetLimit(keyed(t), &pb.SetLimitRequest{Value: proto.Int64(5)}))(t)
	expect(t, must(client.GetLimit(keyed(t), &pb.GetLimitRequest{}))(t).GetResult(), 5)
	label := must(client.GetLabel(keyed(t), &pb.GetLabelRequest{}))(t)
	expect(t, label.GetResult(), "contract up to 5")
	must(client.SetLimit(keyed(t), &pb.SetLimitRequest{Value: proto.Int64(100)}))(t)
}

// --- streams -------------------------------------------------------------------------------------

func TestAGeneratorIsAStream(t *testing.T) {
	stream := must(client.Count(keyed(t), &pb.CountRequest{To: proto.Int64(50)}))(t)
	for want := int64(0); want < 50; want++ {
		expect(t, must(stream.Recv())(t).GetResult(), want)
	}
	_, err := stream.Recv()
	expect(t, errors.Is(err, io.EOF), true)
}

func TestAStreamEndsWithTheErrorOfItsGenerator(t *testing.T) {
	stream := must(client.Count(keyed(t), &pb.CountRequest{To: proto.Int64(101)}))(t)
	for want := int64(0); want < 100; want++ {
		expect(t, must(stream.Recv())(t).GetResult(), want)
	}
	_, err := stream.Recv()
	info, _ := details(t, err, codes.FailedPrecondition)
	expect(t, info.Metadata["py_type"], "tests.polyglot.contract.Overdrawn")
}

func TestCancellingAStreamClosesItsGenerator(t *testing.T) {
	cancelStream(t, "of Go")
	closed := must(client.Closed(keyed(t), &pb.ClosedRequest{Name: proto.String("of Go")}))(t)
	expect(t, closed.GetResult(), true)
}

// cancelStream cancels a stream whose generator sets the event of that name when it is closed.
func cancelStream(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithCancel(keyed(t))
	stream := must(client.Endless(ctx, &pb.EndlessRequest{Name: &name}))(t)
	must(stream.Recv())(t)
	cancel()
}

func TestAMethodTakesAStream(t *testing.T) {
	stream := must(client.Collect(keyed(t)))(t)
	start := proto.Int64(1000) // goes with the first
	for number := int64(1); number <= 100; number++ {
		request := &pb.CollectRequest{Numbers: proto.Int64(number), Start: start}
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		start = nil
	}
	expect(t, must(stream.CloseAndRecv())(t).GetResult(), 6050)
}

func TestAMethodAnswersEachItemOfAStream(t *testing.T) {
	stream := must(client.Running(keyed(t)))(t)
	for number, sum := range []int64{0, 1, 3, 6} {
		request := &pb.RunningRequest{Numbers: proto.Int64(int64(number))}
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		expect(t, must(stream.Recv())(t).GetResult(), sum)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_, err := stream.Recv()
	expect(t, errors.Is(err, io.EOF), true)
}

// --- handles -------------------------------------------------------------------------------------

func TestAHandleIsPassedBackAsAnArgument(t *testing.T) {
	basket := must(client.Basket(keyed(t), &pb.BasketRequest{}))(t).Result
	expect(t, basket.Typeid, "list")
	size := func() int64 {
		t.Helper()
		return must(client.SizeOf(keyed(t), &pb.SizeOfRequest{Basket: basket}))(t).GetResult()
	}
	before := size()
	must(actor.Call(keyed(t), &uactor.CallRequest{
		Handle: basket.Id,
		Method: "append",
		Args:   []*uactor.Value{{Kind: &uactor.Value_String_{String_: "apple"}}},
	}))(t)
	expect(t, size(), before+1)
	must(actor.ReleaseHandle(keyed(t), &uactor.ReleaseHandleRequest{Handles: []string{basket.Id}}))(t)
}

func TestAHandleOfAnActorNamesItsTypedService(t *testing.T) {
	me := must(client.Me(keyed(t), &pb.MeRequest{}))(t).Result
	expect(t, me.Service, pb.ContractService_ServiceDesc.ServiceName)
	label := must(client.LabelOf(keyed(t), &pb.LabelOfRequest{Contract: me}))(t)
	expect(t, label.GetResult(), "contract up to 100")
}

func TestAReleasedHandleIsNotFound(t *testing.T) {
	basket := must(client.Basket(keyed(t), &pb.BasketRequest{}))(t).Result
	must(actor.ReleaseHandle(keyed(t), &uactor.ReleaseHandleRequest{Handles: []string{basket.Id}}))(t)
	_, err := client.SizeOf(keyed(t), &pb.SizeOfRequest{Basket: basket})
	details(t, err, codes.NotFound)
}

// --- errors --------------------------------------------------------------------------------------

func TestABadArgumentIsNamed(t *testing.T) {
	scalars := &pb.ScalarsRequest{Flag: proto.Bool(true)}
	_, err := client.Scalars(keyed(t), scalars)
	_, request := details(t, err, codes.InvalidArgument)
	expect(t, request.FieldViolations[0].Field, "number")

	negative := &pb.PositiveRequest{Value: &pb.Positive{Value: proto.Int64(-1)}}
	_, err = client.Positive(keyed(t), negative)
	info, request := details(t, err, codes.InvalidArgument)
	expect(t, request.FieldViolations[0].Field, "value")
	expect(t, request.FieldViolations[0].Description, "not a valid positive: ValueError: -1 is not positive")
	expect(t, info.Metadata["executed"], "no")

	for _, level := range []pb.Level{99, pb.Level_LEVEL_UNSPECIFIED} {
		_, err = client.Defaults(keyed(t), &pb.DefaultsRequest{Level: level.Enum()})
		_, request = details(t, err, codes.InvalidArgument)
		expect(t, request.FieldViolations[0].Field, "level")
	}
}

func TestAnErrorTellsItsCodeAndItsClass(t *testing.T) {
	for kind, want := range map[pb.FailKind]struct {
		code   codes.Code
		pyType string
	}{
		pb.FailKind_FAIL_KIND_DECLARED: {
			codes.FailedPrecondition, "tests.polyglot.contract.Overdrawn",
		},
		pb.FailKind_FAIL_KIND_UNDECLARED:    {codes.Unknown, "KeyError"},
		pb.FailKind_FAIL_KIND_UNIMPLEMENTED: {codes.Unimplemented, "NotImplementedError"},
	} {
		_, err := client.Fail(keyed(t), &pb.FailRequest{Kind: kind.Enum()})
		info, _ := details(t, err, want.code)
		expect(t, info.Domain, "contract.v1.ContractService")
		expect(t, info.Metadata["py_type"], want.pyType)
		expect(t, info.Metadata["executed"], "yes")
	}
}

func TestNothingIsToldWithoutTheAuthkey(t *testing.T) {
	_, err := client.GetLimit(context.Background(), &pb.GetLimitRequest{})
	details(t, err, codes.Unauthenticated)
	stream := must(client.Count(context.Background(), &pb.CountRequest{To: proto.Int64(1)}))(t)
	_, err = stream.Recv()
	details(t, err, codes.Unauthenticated)
}

func TestACallEndsAtItsDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(keyed(t), 50*time.Millisecond)
	defer cancel()
	_, err := client.Closed(ctx, &pb.ClosedRequest{Name: proto.String("nothing of Go")})
	details(t, err, codes.DeadlineExceeded)
	cancelStream(t, "nothing of Go") // the method goes on waiting
}
