package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

func (l *lab) producers(lane string) *producers {
	l.t.Helper()
	cfg := l.config()
	p, err := newProducers(l.t.Context(), &cfg, lane, &connectionWatch{})
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// turn is a transaction of one record.
func (l *lab) turn(p *producers, topic, value string) error {
	client, err := p.begin()
	if err != nil {
		return err
	}
	if err := client.ProduceSync(l.t.Context(),
		&kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		return err
	}
	return p.commit(l.t.Context())
}

func (l *lab) values(topics ...string) (values []string) {
	for _, r := range l.all(topics...) {
		values = append(values, string(r.Value))
	}
	return values
}

// Two ids take turns, a first; a turn ends with a commit that was acknowledged. Each is initialised
// once.
func TestProducersTakeTurns(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		committed := l.seen(kmsg.EndTxn, func(r kmsg.Request) string {
			end := r.(*kmsg.EndTxnRequest)
			return fmt.Sprint(end.TransactionalID, " ", end.Commit)
		})
		inits := l.seen(kmsg.InitProducerID, func(r kmsg.Request) string {
			return *r.(*kmsg.InitProducerIDRequest).TransactionalID
		})
		p := l.producers("one")
		defer p.close()
		for i := range 4 {
			if err := l.turn(p, "events", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		a, b := names.LaneID(labOutbox, "one", 'a'), names.LaneID(labOutbox, "one", 'b')
		if got, want := committed(), []string{
			a + " true", b + " true", a + " true",
			b + " true",
		}; !slices.Equal(got, want) {
			t.Errorf("got %v\nwant %v", got, want)
		}
		got := inits()
		slices.Sort(got)
		if !slices.Equal(got, []string{a, b}) {
			t.Errorf("initialised are %v", got)
		}
		if got := l.values("events"); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			t.Errorf("visible are %v", got)
		}
	})
}

// A turn that was not committed is not followed by the other's: the lane has ended.
func TestTurnEndsWithACommit(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		p := l.producers("one")
		defer p.close()
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError,
			TopLevel: true, Count: 1,
		})
		if err := l.turn(p, "events", "x"); err == nil || p.turn != 0 {
			t.Errorf("turn %d, %v", p.turn, err)
		}
	})
}

// Whoever fences both ids ends what a lane has open, and the lane cannot commit any more, neither
// on the id that it has open nor on the other one.
func TestFencedProducers(t *testing.T) {
	t.Parallel()
	for _, turns := range []int{0, 1, 2} {
		t.Run(fmt.Sprint("after ", turns, " commits"), func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.topic("events", 1)
				x := l.producers("one")
				defer x.close()
				for i := range turns {
					if err := l.turn(x, "events", fmt.Sprint(i)); err != nil {
						t.Fatal(err)
					}
				}
				client, err := x.begin()
				if err != nil {
					t.Fatal(err)
				}
				if err := client.ProduceSync(t.Context(),
					&kgo.Record{Topic: "events", Value: []byte("late")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
				e, end := l.engine()
				defer end()
				if err := e.fencer.fence(t.Context(), "one", func(string) {}); err != nil {
					t.Fatal(err)
				}
				if err := x.commit(t.Context()); !isFenced(err) {
					t.Errorf("the fenced lane's commit: %v", err)
				}
				x.turn ^= 1 // which its lane would not do
				if err := l.turn(x, "events", "later"); !isFenced(err) {
					t.Errorf("the fenced lane's next turn: %v", err)
				}
				if got := l.values("events"); len(got) != turns {
					t.Errorf("visible are %v", got)
				}
			})
		})
	}
}

func TestProducersEnd(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := newProducers(cancelled, &cfg, "one", &connectionWatch{}); !errors.Is(err,
			context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		cfg.Producer = append(slices.Clone(cfg.Producer), kgo.DisableIdempotentWrite())
		if _, err := newProducers(t.Context(), &cfg, "one", &connectionWatch{}); err == nil {
			t.Error("made without idempotence")
		}
		l.topic("events", 1)
		p := l.producers("two")
		p.close()
		p.close()
		if err := l.turn(p, "events", "x"); err == nil {
			t.Error("committed after close")
		}
	})
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.cluster.Fault(kfake.Fault{
			Keys:  []kmsg.Key{kmsg.InitProducerID},
			TxnID: names.LaneID(labOutbox, "one", 'b'), Err: kerr.TransactionalIDAuthorizationFailed,
			Count: -1,
		})
		cfg := l.config()
		if _, err := newProducers(t.Context(), &cfg, "one", &connectionWatch{}); !errors.Is(err,
			kerr.TransactionalIDAuthorizationFailed) || !strings.Contains(err.Error(), "lane one") {
			t.Errorf("where one id is refused: %v", err)
		}
	})
}

// After a request without an answer no transaction begins: markers of the one before may be
// missing.
func TestNoTransactionAfterALostBroker(t *testing.T) {
	t.Parallel()
	var p producers
	p.watch.arm()
	p.watch.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{})
	if err := p.watch.err(); err != nil {
		t.Errorf("an answer is no loss: %v", err)
	}
	p.watch.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{ReadErr: errors.New("EOF")})
	if _, err := p.begin(); !errors.Is(err, errConnection) {
		t.Errorf("begin: %v", err)
	}
	p.watch.arm()
	if err := p.watch.err(); err != nil {
		t.Errorf("what was lost before the ids were initialised counts: %v", err)
	}
}

// A client that initialises its id by itself, as kgo does after some errors, is given up: a lane
// never does it twice.
func TestNoTransactionAfterAnotherInitialisation(t *testing.T) {
	t.Parallel()
	key := kmsg.InitProducerID.Int16()
	var p producers
	p.watch.OnBrokerWrite(kgo.BrokerMetadata{}, key, 0, 0, 0, nil)
	p.watch.arm()
	p.watch.OnBrokerWrite(kgo.BrokerMetadata{}, kmsg.Produce.Int16(), 0, 0, 0, nil)
	if err := p.watch.err(); err != nil {
		t.Errorf("the first initialisation and other requests: %v", err)
	}
	p.watch.OnBrokerWrite(kgo.BrokerMetadata{}, key, 0, 0, 0, nil)
	if _, err := p.begin(); !errors.Is(err, errReinitialised) || !isFenced(err) {
		t.Errorf("begin: %v", err)
	}
	if err := p.commit(t.Context()); !errors.Is(err, errReinitialised) {
		t.Errorf("commit: %v", err)
	}
}

// Who owes an answer for longest is named.
func TestDebtor(t *testing.T) {
	t.Parallel()
	var w connectionWatch
	w.arm()
	one, two := kgo.BrokerMetadata{Host: "one", Port: 9092},
		kgo.BrokerMetadata{Host: "two", Port: 9093}
	if who := w.debtor(); who != "" {
		t.Error(who)
	}
	w.OnBrokerWrite(one, kmsg.Metadata.Int16(), 0, 0, 0, nil)
	time.Sleep(time.Millisecond)
	w.OnBrokerWrite(two, kmsg.Produce.Int16(), 0, 0, 0, nil)
	w.OnBrokerWrite(one, kmsg.Produce.Int16(), 0, 0, 0, nil)
	if who := w.debtor(); !strings.Contains(who, "one:9092 has not answered Metadata") {
		t.Error(who)
	}
	w.OnBrokerE2E(one, kmsg.Metadata.Int16(), kgo.BrokerE2E{})
	w.OnBrokerE2E(one, kmsg.Produce.Int16(), kgo.BrokerE2E{})
	if who := w.debtor(); !strings.Contains(who, "two:9093 has not answered Produce") {
		t.Error(who)
	}
	w.OnBrokerE2E(two, kmsg.Produce.Int16(), kgo.BrokerE2E{ReadErr: errors.New("EOF")})
	// of a request that was never written
	w.OnBrokerE2E(two, kmsg.Produce.Int16(), kgo.BrokerE2E{WriteErr: errors.New("EOF")})
	if who := w.debtor(); who != "" {
		t.Error(who)
	}
}
