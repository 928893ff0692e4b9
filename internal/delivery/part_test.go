package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// desk is a lane without producers, for what can be tested without Kafka.
func desk(shards ...int) (*lane, []*Seat) {
	e := &Engine{cfg: Config{
		Outbox: "orders", Topic: "positions",
		Logger: slog.New(slog.DiscardHandler),
	}, budget: newBudget(1 << 20), hard: context.Background()}
	e.fencer.engine, e.reader.engine = e, e
	e.cfg.MaxBytes, e.cfg.MaxEntries, e.cfg.TransactionTimeout = 1<<20, 10_000, 10*time.Second
	l := &lane{
		engine: e, name: "lane-1", kind: main, producers: &producers{},
		pace: newPace(e.cfg.MaxBytes, e.cfg.MaxEntries),
		work: make(chan struct{}, 1), dead: make(chan struct{}), done: make(chan struct{}),
	}
	for _, id := range shards {
		s := newSeat(l, newShard(e, id, noSource{}))
		if err := l.enter(s); err != nil {
			panic(err)
		}
	}
	return l, l.seats
}

// outgoing keeps what is produced, and answers it when a test says so.
type outgoing struct {
	records  []*kgo.Record
	promises []func(*kgo.Record, error)
}

func (o *outgoing) produce(r *kgo.Record, promise func(*kgo.Record, error)) {
	o.records, o.promises = append(o.records, r), append(o.promises, promise)
}

// answer answers what goes to a topic and has no answer yet.
func (o *outgoing) answer(topic string, err error) {
	for i, r := range o.records {
		if r.Topic == topic && o.promises[i] != nil {
			o.promises[i](r, err)
			o.promises[i] = nil
		}
	}
}

func batchOf(position string, at ...place) *Batch {
	b := &Batch{Entries: len(at), Bytes: 100 * len(at), Position: func() ([]byte, error) {
		return []byte(position), nil
	}}
	for _, p := range at {
		b.Records = append(b.Records, &kgo.Record{
			Topic: p.topic, Partition: p.partition,
			Key: []byte("k"), Value: []byte("value"),
		})
	}
	return b
}

func TestPartCountsAnswers(t *testing.T) {
	t.Parallel()
	l, seats := desk(3)
	began := time.Now()
	var o outgoing
	l.add(seats[0], batchOf(`{"n":2}`, place{"a", 1}, place{"b", 0}), o.produce)
	l.add(seats[0], batchOf(`{"n":3}`, place{"a", 1}), o.produce)
	p := seats[0].part
	if len(l.parts) != 1 || l.entries != 3 || l.bytes != 300 || p.records != 3 || p.entries != 3 ||
		p.bytes != 300 {
		t.Errorf("lane: %d parts, %d entries, %d bytes; part: %+v", len(l.parts), l.entries, l.bytes, p)
	}
	record, err := p.seal("lane-1")
	if err != nil {
		t.Fatal(err)
	}
	o.produce(record, p.promise)
	written, err := ParsePosition(record.Value)
	if err != nil || written.Lane != "lane-1" || written.Records != 3 ||
		string(written.Position) != `{"n":3}` || string(p.position) != `{"n":3}` {
		t.Errorf("position record %+v, %v", written, err)
	}
	if text := fmt.Sprint(written.Wrote); text != "map[a:[1] b:[0]]" || written.Before != nil {
		t.Errorf("wrote %s, before %v", text, written.Before)
	}
	// Each place, the position among them, is open until the last record there has its answer.
	for i, topic := range []string{"a", "positions", "b"} {
		var stall *stallError
		if err := p.stalled(began); !errors.As(err, &stall) ||
			!slices.Contains([]string{"a", "positions", "b"}[i:], stall.at.topic) {
			t.Errorf("before the answers for %s: %v", topic, err)
		}
		o.answer(topic, nil)
	}
	if err := p.stalled(began); err != nil {
		t.Errorf("with every answer: %v", err)
	}
	if err := p.outcome(); err != nil {
		t.Errorf("with every answer: %v", err)
	}
	if got, want := p.bytesAcknowledged(),
		3*len("kvalue")+len(record.Key)+len(record.Value); got != want {
		t.Errorf("%d bytes are acknowledged, want %d", got, want)
	}
}

// What a shard has written in the transaction before is said in the next position of the same seat.
func TestPartTellsWhatWasBefore(t *testing.T) {
	t.Parallel()
	_, seats := desk(3)
	s := seats[0]
	s.committed(json.RawMessage(`{"n":1}`), Places{"a": {4}}, true)
	s.part = &part{seat: s, places: map[place]int{}, open: map[place]int{}}
	s.part.add(func(*kgo.Record, func(*kgo.Record, error)) {}, batchOf(`{"n":2}`, place{"b", 0}))
	record, err := s.part.seal("lane-1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePosition(record.Value)
	if err != nil || !p.Before.has(place{"a", 4}) || !p.Wrote.has(place{"b", 0}) ||
		p.Wrote.has(place{"a", 4}) {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestPartWithoutPosition(t *testing.T) {
	t.Parallel()
	l, seats := desk(3)
	failed := errors.New("no position")
	var o outgoing
	l.add(seats[0], &Batch{Position: func() ([]byte, error) { return nil, failed }}, o.produce)
	if _, err := seats[0].part.seal("lane-1"); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	l, seats = desk(3)
	l.add(seats[0], &Batch{Position: func() ([]byte, error) {
		return []byte("not JSON"), nil
	}}, o.produce)
	if r, err := seats[0].part.seal("lane-1"); err == nil {
		t.Errorf("got %s", r.Value)
	}
}

// A refusal counts more than another failure, the first more than a later one, and a topic that
// failed is told.
func TestPartFaults(t *testing.T) {
	t.Parallel()
	type answer struct {
		topic string
		err   error
	}
	for name, c := range map[string]struct {
		answers []answer
		want    error
		refused bool
		told    []string
	}{
		"none": {[]answer{{"a", nil}}, nil, false, nil},
		"a failure": {
			[]answer{{"a", kerr.NotEnoughReplicas}},
			kerr.NotEnoughReplicas,
			false,
			[]string{"a"},
		},
		"the first": {[]answer{
			{"a", kerr.NotEnoughReplicas},
			{"b", kerr.KafkaStorageError},
		}, kerr.NotEnoughReplicas, false, []string{"a", "b"}},
		"a refusal": {
			[]answer{{"a", kerr.InvalidRecord}},
			kerr.InvalidRecord, true,
			[]string{"a"},
		},
		"a refusal after a failure": {[]answer{
			{"a", kerr.NotEnoughReplicas},
			{"b", kerr.MessageTooLarge},
		}, kerr.MessageTooLarge, true, []string{"a", "b"}},
		"a failure after a refusal": {[]answer{
			{"b", kerr.MessageTooLarge},
			{"a", kerr.NotEnoughReplicas},
		}, kerr.MessageTooLarge, true, []string{"a", "b"}},
		"two refusals": {
			[]answer{{"a", kerr.InvalidRecord}, {"b", kerr.MessageTooLarge}},
			kerr.InvalidRecord, true,
			[]string{"a", "b"},
		},
		"a refused position": {
			[]answer{{"positions", kerr.MessageTooLarge}},
			kerr.MessageTooLarge, false, nil,
		},
		"a failed position": {
			[]answer{{"positions", kerr.NotEnoughReplicas}},
			kerr.NotEnoughReplicas, false, nil,
		},
		"fenced, which is no topic's": {
			[]answer{{"a", kerr.InvalidProducerEpoch}},
			kerr.InvalidProducerEpoch, false, nil,
		},
		"closed, which is no topic's": {
			[]answer{{"a", kgo.ErrClientClosed}},
			kgo.ErrClientClosed, false,
			nil,
		},
	} {
		l, seats := desk(3)
		var told []string
		l.engine.cfg.Failed = func(topic string) { told = append(told, topic) }
		var o outgoing
		l.add(seats[0], batchOf(`{}`, place{"a", 1}, place{"b", 0}), o.produce)
		p := seats[0].part
		record, err := p.seal("lane-1")
		if err != nil {
			t.Fatal(err)
		}
		o.produce(record, p.promise)
		for _, a := range c.answers {
			o.answer(a.topic, a.err)
		}
		got := p.outcome()
		_, refused := got.(*refusedError) //nolint:errorlint // that it is not wrapped is what is asked
		if !errors.Is(got, c.want) || (got == nil) != (c.want == nil) || refused != c.refused {
			t.Errorf("%s: got %v", name, got)
		}
		if slices.Sort(told); !slices.Equal(told, c.told) {
			t.Errorf("%s: told of %v, want %v", name, told, c.told)
		}
	}
}

// The errors of seats when a lane dies: a seat with a fault of its own gets it, its neighbours that
// the lane has ended; what all have in common is nobody's own.
func TestFaultsOfADeadLane(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	// Shards 0 and 1 have records in the transaction, for topics t0 and t1; shard 2 has none.
	for name, c := range map[string]struct {
		err    error
		faults map[string]error
		stall  []int // whose lack of an answer is noted
		want   [3]string
	}{
		"the lane's error alone": {lost, nil, nil, [3]string{"shared", "shared", "shared"}},
		"one shard's record": {
			lost,
			map[string]error{"t0": kerr.NotEnoughReplicas},
			nil,
			[3]string{"record", "ended", "ended"},
		},
		"one shard's refusal": {
			lost,
			map[string]error{"t1": kerr.InvalidRecord},
			nil,
			[3]string{"ended", "refused", "ended"},
		},
		"one shard's silence": {lost, nil, []int{0}, [3]string{"stall", "ended", "ended"}},
		"both fail, which is nobody's own": {
			lost,
			map[string]error{"t0": kerr.NotEnoughReplicas, "t1": kerr.NotEnoughReplicas},
			nil,
			[3]string{"shared", "shared", "ended"},
		},
		"both are silent": {
			lost, nil,
			[]int{0, 1},
			[3]string{"shared", "shared", "ended"},
		},
		"both are refused": {
			lost,
			map[string]error{"t0": kerr.InvalidRecord, "t1": kerr.InvalidRecord},
			nil,
			[3]string{"refused", "refused", "ended"},
		},
		"one fails, one is refused": {
			lost,
			map[string]error{"t0": kerr.NotEnoughReplicas, "t1": kerr.InvalidRecord},
			nil,
			[3]string{"shared", "refused", "ended"},
		},
		"fenced at the commit": {
			kerr.ProducerFenced, nil, nil,
			[3]string{"fenced", "fenced", "fenced"},
		},
		"fenced at a record": {
			lost,
			map[string]error{"t0": kerr.InvalidProducerEpoch},
			nil,
			[3]string{"fenced", "fenced", "fenced"},
		},
		"fenced, and one is refused": {
			kerr.ProducerFenced,
			map[string]error{"t1": kerr.InvalidRecord},
			nil,
			[3]string{"fenced", "fenced", "fenced"},
		},
		"a client that was closed": {
			lost,
			map[string]error{"t0": kgo.ErrClientClosed},
			nil,
			[3]string{"shared", "shared", "shared"},
		},
		"closed, and one is refused": {
			lost,
			map[string]error{"t0": kgo.ErrClientClosed, "t1": kerr.InvalidRecord},
			nil,
			[3]string{"ended", "refused", "ended"},
		},
	} {
		l, seats := desk(0, 1, 2)
		var o outgoing
		l.add(seats[0], batchOf(`{}`, place{"t0", 0}), o.produce)
		l.add(seats[1], batchOf(`{}`, place{"t1", 0}), o.produce)
		for topic, err := range c.faults {
			o.answer(topic, err)
		}
		for _, i := range c.stall {
			seats[i].part.fault = seats[i].part.stalled(time.Now())
		}
		told := l.faults(c.err, seats)
		for i, want := range c.want {
			if got := classOf(told[seats[i]]); got != want {
				t.Errorf("%s: shard %d is told %s (%v), want %s", name, i, got, told[seats[i]], want)
			}
		}
		if len(told) != 3 {
			t.Errorf("%s: %d seats are told", name, len(told))
		}
	}
}

func classOf(err error) string {
	var (
		shared  *sharedError
		refused *refusedError
		stall   *stallError
		record  *recordError
	)
	switch {
	case err == errLaneEnded: //nolint:errorlint // as shards ask
		return "ended"
	case errors.Is(err, errFenced):
		return "fenced"
	case errors.As(err, &shared):
		return "shared"
	case errors.As(err, &refused):
		return "refused"
	case errors.As(err, &stall):
		return "stall"
	case errors.As(err, &record):
		return "record"
	}
	return fmt.Sprint("other: ", err)
}

// giveUp returns the first silent part, and notes the error for each.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	l, seats := desk(0, 1, 2)
	var o outgoing
	for i, s := range seats {
		l.add(s, batchOf(`{}`, place{fmt.Sprint("t", i), 0}), o.produce)
	}
	o.answer("t0", nil)
	o.answer("t2", kerr.NotEnoughReplicas)
	err := l.giveUp(time.Now(), nil)
	var stall *stallError
	if !errors.As(err, &stall) {
		t.Errorf("got %v", err)
	}
	if seats[0].part.outcome() != nil || classOf(seats[1].part.outcome()) != "stall" ||
		classOf(seats[2].part.outcome()) != "record" {
		t.Errorf("noted: %v, %v, %v", seats[0].part.outcome(), seats[1].part.outcome(),
			seats[2].part.outcome())
	}
	if failed := errors.New("flush"); !errors.Is(l.giveUp(time.Now(), failed), failed) {
		t.Error("the error of the flush is lost")
	}
	if text := stall.Error(); !strings.Contains(text, "partition 0 has not answered since") {
		t.Error(text)
	}
}
