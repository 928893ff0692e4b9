package inbox

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What waits of a partition is bounded: it is full above the limit, and fetched on at half of it.
func TestSourceIsBounded(t *testing.T) {
	s := newSource("t", 0, TopicID{})
	record := func() *kgo.Record { return &kgo.Record{Value: make([]byte, 100)} } // weighs 300
	for i := range 4 {
		if full := s.push([]*kgo.Record{record()}, 1000); full != (i == 3) {
			t.Fatalf("after %d records: full is %v", i+1, full)
		}
	}
	// one at least
	if taken, resume, err := s.take(1, 1, 1000); len(taken) != 1 || resume || err != nil {
		t.Error(len(taken), resume, err)
	}
	if taken, resume, err := s.take(10, 600, 1000); len(taken) != 2 || !resume || err != nil {
		t.Error(len(taken), resume, err)
	}
	if taken, resume, err := s.take(10, 600, 1000); len(taken) != 1 || resume || err != nil {
		t.Error(len(taken), resume, err)
	}
	if taken, _, err := s.take(10, 600, 1000); len(taken) != 0 || err != nil {
		t.Error(len(taken), err)
	}
	s.push([]*kgo.Record{record()}, 1000)
	gone := errors.New("gone")
	s.fail(gone)
	s.fail(errors.New("later"))
	if taken, _, err := s.take(10, 600, 1000); len(taken) != 0 || !errors.Is(err, gone) {
		t.Error(len(taken), err)
	}
	if !s.push([]*kgo.Record{record()}, 1000) {
		t.Error("a source that has ended takes records")
	}
}

// A partition whose handler stands still holds no more than its share, and the others go on.
func TestSlowPartitionHoldsNoOther(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.MaxInFlight, cfg.Retry.Attempts = 64<<10, 1_000_000
		broken := l.failOn(&cfg, errBroken, "3")
		in, stop := l.start(cfg)
		defer stop()
		for i := range 10 {
			l.produce(0, "a", 100*i, 100*i+100)
			l.produce(1, "b", 1000+100*i, 1000+100*i+100)
			time.Sleep(100 * time.Millisecond)
		}
		l.untilNext(1, 1000)
		time.Sleep(10 * time.Second)
		in.fetcher.sourcesMu.Lock()
		src := in.fetcher.sources[fmt.Sprint(events, "/0")]
		in.fetcher.sourcesMu.Unlock()
		src.mu.Lock()
		bytes, full := src.bytes, src.full
		src.mu.Unlock()
		if !full || bytes > 64<<10 {
			t.Errorf("%d bytes wait, full is %v", bytes, full)
		}
		broken.Store(false)
		l.untilNext(0, 1000)
		if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 1000)) {
			t.Errorf("%d took effect", len(got))
		}
	})
}
