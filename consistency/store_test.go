package consistency

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestStoreReadsWhatItWrote: what is kept of a reading is not what a later batch has put into the
// same memory.
func TestStoreReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	a := &Auditor{cfg: Config{
		Outbox: "o",
		Kafka:  []kgo.Opt{kgo.SeedBrokers(kafka.ListenAddrs()...), kgo.RetryTimeout(5 * time.Second)},
	}}
	s, err := a.open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	detail := func(run int64) string { return strings.Repeat(fmt.Sprint(run), 300) }
	const runs = 20
	for run := int64(1); run <= runs; run++ {
		r := newReport("o", run)
		r.Started = time.Unix(run, 0)
		r.Finished = r.Started.Add(time.Second)
		r.add(Finding{Kind: Lost, Detail: detail(run)})
		now := &state{
			V: stateVersion, Outbox: "o", Run: run,
			Shards: []shardPoint{{Begun: true, Point: EntryID{MS: uint64(run)}, Anchor: detail(run)}},
		}
		if err := s.save(t.Context(), now, nil, r); err != nil {
			t.Fatal(err)
		}
	}
	last, reports, err := s.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if last.Run != runs || len(last.Shards) != 1 || last.Shards[0].Anchor != detail(runs) {
		t.Errorf("the state is that of run %d", last.Run)
	}
	if len(reports) != runs {
		t.Fatalf("%d reports", len(reports))
	}
	for i, r := range reports {
		if run := int64(i) + 1; r.Run != run || len(r.Findings) != 1 ||
			r.Findings[0].Detail != detail(run) {
			t.Errorf("report %d is that of run %d", run, r.Run)
		}
	}
}
