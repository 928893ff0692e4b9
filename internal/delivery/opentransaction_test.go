package delivery

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

// A dead process's open transaction, which holds up the position, is ended by a fence, at once
// instead of after its time-out.
func TestOpenTransactionOfADeadProcess(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		k := keys{labOutbox, labTopic, 0}
		client, err := kgo.NewClient(append(slices.Clone(l.opts),
			kgo.TransactionalID(names.LaneID(labOutbox, "dead", 'a')),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for round := range 2 {
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			value, err := json.Marshal(Position{
				V: RecordVersion, Lane: "dead", Records: 1,
				Wrote: Places{"events": {0}}, Position: fmt.Appendf(nil, `{"n":%d}`, round+1),
			})
			if err != nil {
				t.Fatal(err)
			}
			err = client.ProduceSync(t.Context(), k.claim("dead", "", time.Now()),
				&kgo.Record{
					Topic: "events", Key: fmt.Appendf(nil, "0/%d", round+1),
					Value: []byte("value"),
				}, k.position(value)).FirstErr()
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
					t.Fatal(err)
				}
			}
		}
		began := time.Now()
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(5, place{"events", 0})
		l.run(e, f)
		l.delivered(f)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
			t.Error("the dead process has committed")
		}
		end()
		l.check(f)
	})
}

// A transaction that is no lane's holds up the position: the shard says so when it has lasted
// longer than one may.
func TestOpenTransactionOfAStranger(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID("stranger"),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(),
			&kgo.Record{
				Topic: labTopic, Key: []byte("what"),
				Value: []byte("ever"),
			}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(5, place{"events", 0})
		began := time.Now()
		l.run(e, f)
		l.state(f, Halted)
		if took := time.Since(began); took < e.cfg.TransactionTimeout ||
			!strings.Contains(f.seen().reason, "no lane's") ||
			!strings.Contains(f.seen().reason, "kafka-transactions.sh") {
			t.Errorf("halted after %s: %s", took, f.seen().reason)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		l.delivered(f)
		end()
		l.check(f)
	})
}
