package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// joins are the requests by which the lanes' clients have added partitions, each as its partitions.
func (l *lab) joins() func() []string {
	return l.seen(kmsg.AddPartitionsToTxn, func(r kmsg.Request) string {
		req := r.(*kmsg.AddPartitionsToTxnRequest)
		var at []string
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				at = append(at, fmt.Sprintf("%s/%d", t.Topic, p))
			}
		}
		slices.Sort(at)
		return fmt.Sprintf("v%d %s", req.Version, strings.Join(at, " "))
	})
}

// A transaction over several brokers adds its partitions at once, once.
func TestJoin(t *testing.T) {
	t.Parallel()
	inLabOf(t, 3, 2, func(t *testing.T, l *lab) {
		l.topic("events", 6)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine()
		defer end()
		l.run(e, a, b)
		l.state(a, Running)
		l.state(b, Running)
		for range 4 { // until both of the lane's clients know who leads the topic
			a.add(1, place{"events", 0})
			l.delivered(a)
		}
		joins, commits := l.joins(), l.seen(kmsg.EndTxn, func(kmsg.Request) string { return "end" })
		a.add(1, place{"events", 0}, place{"events", 1}, place{"events", 2}, place{"events", 3},
			place{"events", 4}, place{"events", 5})
		l.delivered(a)
		all := "v3 events/0 events/1 events/2 events/3 events/4 events/5 " + labTopic + "/0"
		if got := joins(); len(commits()) != 1 || !slices.Equal(got, []string{all}) {
			t.Errorf("in %d transactions: %q", len(commits()), got)
		}
		end()
		l.check(a, b)
	})
}

// One broker needs no help.
func TestNoJoin(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 6)
		a, b := newFlow(0), newFlow(1)
		joins := l.joins()
		e, end := l.engine()
		defer end()
		l.run(e, a, b)
		for p := range int32(6) {
			a.add(1, place{"events", p})
			b.add(1, place{"events", p})
		}
		l.delivered(a, b)
		if got := joins(); len(got) != 0 {
			t.Errorf("%q", got)
		}
		end()
		l.check(a, b)
	})
}

// The coordinator refuses while the id's last transaction is not wholly written. It is asked again
// at once: leaders would wait longer.
func TestJoinAgain(t *testing.T) {
	t.Parallel()
	inLabOf(t, 3, 1, func(t *testing.T, l *lab) {
		l.topic("events", 6)
		a := newFlow(0)
		e, end := l.engine()
		defer end()
		l.run(e, a)
		for range 4 {
			a.add(1, place{"events", 0})
			l.delivered(a)
		}
		var asked, refused int
		var before time.Time
		l.on(kmsg.AddPartitionsToTxn, func(r kmsg.Request) kmsg.Response {
			if asked++; asked > 3 {
				return nil
			}
			if refused++; refused > 1 && time.Since(before) > joinRetryMax {
				t.Errorf("asked again after %s", time.Since(before))
			}
			before = time.Now()
			req := r.(*kmsg.AddPartitionsToTxnRequest)
			resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
			for _, topic := range req.Topics {
				to := kmsg.NewAddPartitionsToTxnResponseTopic()
				to.Topic = topic.Topic
				for _, p := range topic.Partitions {
					of := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
					of.Partition, of.ErrorCode = p, kerr.ConcurrentTransactions.Code
					to.Partitions = append(to.Partitions, of)
				}
				resp.Topics = append(resp.Topics, to)
			}
			return resp
		})
		a.add(1, place{"events", 0}, place{"events", 1}, place{"events", 2}, place{"events", 3},
			place{"events", 4}, place{"events", 5})
		l.delivered(a)
		if refused != 3 || asked != 4 {
			t.Errorf("refused %d times of %d", refused, asked)
		}
		end()
		l.check(a)
	})
}

// Whatever becomes of the request, what is delivered is the same: leaders join by themselves.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	for _, refusal := range []*kerr.Error{
		kerr.ConcurrentTransactions, kerr.NotCoordinator,
		kerr.CoordinatorLoadInProgress, kerr.TransactionalIDAuthorizationFailed,
	} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			inLabOf(t, 3, 2, func(t *testing.T, l *lab) {
				l.topic("events", 6)
				a := newFlow(0)
				joins := l.joins()
				l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: refusal, Count: -1})
				e, end := l.engine()
				defer end()
				l.run(e, a)
				for range 4 {
					for p := range int32(6) {
						a.add(10, place{"events", p})
					}
					l.delivered(a)
				}
				if len(joins()) == 0 {
					t.Error("nobody asked")
				}
				end()
				l.check(a)
			})
		})
	}
}
