package consistency

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

// TestReportOfAnInterruptedRunStays: an audit that could not go on has a number and a report of its
// own, and the next one goes on where it had come to.
func TestReportOfAnInterruptedRunStays(t *testing.T) {
	t.Parallel()
	g := newProgressStage(t)
	g.mini.HSet(names.LayoutKey("o"), "version", "2", "format", "1", "shards", "1", "created", "1")
	g.add(t, "5-0") // no event: it belongs into the dead letters
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = away.Close() })
	for run, replica := range []redis.UniversalClient{nil, away, away, nil} {
		cfg := g.cfg
		cfg.Replica, cfg.Settle = replica, -1
		a, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if run > 0 {
			g.add(t, EntryID{MS: uint64(5 + run)}.String())
		}
		r, err := a.Run(t.Context())
		if err != nil || r.Run != int64(run+1) || r.Range[0].After != (EntryID{MS: 5}).Prev() {
			t.Fatalf("run %d: %v: %+v", run+1, err, r)
		}
		if refused := strings.Contains(strings.Join(r.Incomplete, ""),
			"connection refused"); refused != (replica != nil) {
			t.Errorf("run %d: %v", r.Run, r.Incomplete)
		}
	}
	a, err := New(g.cfg)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := a.History(t.Context())
	if err != nil || len(reports) != 4 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	for i, r := range reports {
		if r.Run != int64(i+1) {
			t.Errorf("report %d is of run %d", i, r.Run)
		}
	}
}
