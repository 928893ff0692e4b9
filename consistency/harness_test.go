package consistency

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// auditor runs audits over memory, keeping its state as JSON as the real one does.
type auditor struct {
	streams *memoryStreams
	logs    *memoryLogs
	settings
	state   []byte
	reports []*Report   // of runs that were not killed
	other   logs        // instead of logs, if not nil
	waits   func(n int) // called at the n-th wait of a run, if not nil
	// allowDuplicates is that of the reports.
	allowDuplicates bool
	calls           calls
}

// calls counts what a run asks of the two systems, each entry and record that it is given, and each
// saving. The call of the number at fails; or the run is killed there. 0: none.
type calls struct {
	at     int
	kill   bool
	n      int
	cancel context.CancelFunc
	during func(n int) // called at each call, if not nil
}

var errBroken = errors.New("broken")

func (c *calls) next() error {
	c.n++
	if c.during != nil {
		c.during(c.n)
	}
	if c.n != c.at {
		return nil
	}
	if c.kill {
		c.cancel()
		return context.Canceled
	}
	return errBroken
}

// met reports whether the last run came to the call that was to fail.
func (c *calls) met() bool { return c.at > 0 && c.n >= c.at }

func newAuditor(streams *memoryStreams, logs *memoryLogs) *auditor {
	return &auditor{streams: streams, logs: logs, settings: settings{
		outbox: "o", route: "t.{{.AggregateType}}", format: Raw, deadLetter: "dlq",
		watch:       []string{"t.*", "other"},
		tileEntries: 100, roundEntries: 1000, workers: 1, mostSuspects: 1000,
	}}
}

// run returns a report, or the context's error if the run was killed.
func (a *auditor) run() (*Report, error) {
	before, err := a.remembered()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a.calls.n, a.calls.cancel = 0, cancel
	r := newReport("o", before.Run)
	r.DuplicatesAllowed = a.allowDuplicates
	waits := 0
	wait := func(ctx context.Context, _ time.Duration) error {
		if waits++; a.waits != nil {
			a.waits(waits)
		}
		return ctx.Err()
	}
	c := &collector{
		settings: a.settings, streams: countedStreams{a.streams, &a.calls},
		logs: countedLogs{a.logs, &a.calls}, wait: wait, now: time.Now,
	}
	if a.other != nil {
		c.logs = a.other
	}
	keep, err := c.audit(ctx, before, false, r,
		func(_ context.Context, now state, _ []Tile) (err error) {
			if a.calls.kill { // a saving that fails has its findings told twice
				if err := a.calls.next(); err != nil {
					return err
				}
			}
			a.state, err = json.Marshal(now)
			return err
		})
	if err != nil {
		return nil, err
	}
	a.reports = append(a.reports, r)
	a.state, err = json.Marshal(keep)
	return r, err
}

// remembered is the state with which the next run begins.
func (a *auditor) remembered() (before state, err error) {
	if a.state != nil {
		if err := json.Unmarshal(a.state, &before); err != nil {
			return before, err
		}
	}
	return before.forRun("o", len(a.streams.shards), false)
}

func mustRun(t *testing.T, a *auditor) *Report {
	t.Helper()
	r, err := a.run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type countedStreams struct {
	streams
	calls *calls
}

func (c countedStreams) state(ctx context.Context, shard int) (streamState, error) {
	if err := c.calls.next(); err != nil {
		return streamState{}, err
	}
	return c.streams.state(ctx, shard)
}

func (c countedStreams) read(ctx context.Context, shard int, after, to EntryID,
	fn func(rawEntry) error,
) error {
	if err := c.calls.next(); err != nil {
		return err
	}
	return c.streams.read(ctx, shard, after, to, func(raw rawEntry) error {
		if err := c.calls.next(); err != nil {
			return err
		}
		return fn(raw)
	})
}

func (c countedStreams) pending(ctx context.Context, shard int, id EntryID) (bool, error) {
	if err := c.calls.next(); err != nil {
		return false, err
	}
	return c.streams.pending(ctx, shard, id)
}

type countedLogs struct {
	logs
	calls *calls
}

func (c countedLogs) topics(ctx context.Context, names, patterns []string) ([]topic, error) {
	if err := c.calls.next(); err != nil {
		return nil, err
	}
	return c.logs.topics(ctx, names, patterns)
}

func (c countedLogs) bounds(ctx context.Context, names []string) (map[string][]bounds, error) {
	if err := c.calls.next(); err != nil {
		return nil, err
	}
	return c.logs.bounds(ctx, names)
}

func (c countedLogs) read(ctx context.Context, name string, partition int32, from, to int64,
	fn func(*kgo.Record) error,
) error {
	if err := c.calls.next(); err != nil {
		return err
	}
	return c.logs.read(ctx, name, partition, from, to, func(r *kgo.Record) error {
		if err := c.calls.next(); err != nil {
			return err
		}
		return fn(r)
	})
}

func (c countedLogs) position(ctx context.Context, shard int) (EntryID, error) {
	if err := c.calls.next(); err != nil {
		return EntryID{}, err
	}
	return c.logs.position(ctx, shard)
}

func (c countedLogs) losesRecords(ctx context.Context, name string) (string, error) {
	if err := c.calls.next(); err != nil {
		return "", err
	}
	return c.logs.losesRecords(ctx, name)
}
