package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

// wholeGroups against the dumb way: give every entry the number of its group, and leave out the
// last one if it is not whole.
func TestWholeGroups(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var fields [][]byte
		var group []int
		for g, size := range rapid.SliceOfN(rapid.IntRange(1, 4), 0, 6).Draw(t, "groups") {
			for more := size - 1; more >= 0; more-- {
				changes := []string{}
				if more > 0 {
					changes = append(changes, "more", strconv.Itoa(more))
				}
				if rapid.IntRange(0, 9).Draw(t, "undecodable") == 0 {
					changes = append(changes, "colour", "red")
				}
				fields, group = append(fields, with(changes...)), append(group, g)
			}
		}
		all := raws(fields...)
		n := rapid.IntRange(0, len(all)).Draw(t, "read")
		want := n
		if n < len(all) {
			for want > 0 && group[want-1] == group[n] {
				want--
			}
		}
		got := wholeGroups(all[:n], false)
		if len(got) != want {
			t.Fatalf("groups %v, %d read: got %d entries, want %d", group, n, len(got), want)
		}
		if end := wholeGroups(all[:n], true); len(end) != n {
			t.Fatalf("at the end of the stream %d of %d entries are whole", len(end), n)
		}
	})
}

func TestCheckAnchor(t *testing.T) {
	t.Parallel()
	here := rawEntry{outbox.EntryID{MS: 5}, with("id", "e-1")}
	other := rawEntry{outbox.EntryID{MS: 5}, with("id", "e-2")}
	later := rawEntry{outbox.EntryID{MS: 5, Seq: 1}, with("id", "e-1")}
	from := anchor{outbox.EntryID{MS: 5}, fingerprint(here.fields)}
	if halt := checkAnchor(3, from, []rawEntry{here, later}); halt != nil {
		t.Error(halt)
	}
	for found, entries := range map[string][]rawEntry{
		"no entry at or after it": nil,
		"entry 5-0 with fingerprint " + formatFingerprint(fingerprint(other.fields)): {other},
		"entry 5-1 with fingerprint " + formatFingerprint(from.fingerprint):          {later},
	} {
		halt := checkAnchor(3, from, entries)
		if halt == nil || halt.Found != found || halt.Shard != 3 || halt.Entry != from.id ||
			halt.Expected != "entry 5-0 with fingerprint "+formatFingerprint(from.fingerprint) {
			t.Errorf("%s: got %+v", found, halt)
		}
	}
}

// Whatever the entries are like, the next read asks for something sensible.
func TestAdaptStaysWithinBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newStreamReader(nil, 0, "k")
		for range rapid.IntRange(1, 50).Draw(t, "reads") {
			if rapid.IntRange(0, 4).Draw(t, "too large") == 0 {
				count, limit := r.count, r.limit
				r.fewer()
				if r.count >= count && r.limit <= limit && count > 1 {
					t.Fatalf("the read is not smaller: %d entries, %d bytes", r.count, r.limit)
				}
				r.limit = min(r.limit, 1<<30)
			} else {
				before := r.count
				n := rapid.IntRange(0, max(r.count, r.least)+1).Draw(t, "entries")
				r.adapt(n*rapid.IntRange(1, 1<<20).Draw(t, "size"), n)
				if r.count > 2*before {
					t.Fatalf("from %d to %d entries in one step", before, r.count)
				}
			}
			if r.count < 1 || r.count > readEntries || r.limit < readLimit {
				t.Fatalf("%d entries, %d bytes", r.count, r.limit)
			}
		}
	})
}

// reading runs a reader from an anchor until the test has seen enough.
type reading struct {
	chunks   chan *chunk
	caughtUp atomic.Int64 // how often the reader has said that it found nothing to begin with
	err      error
	stop     context.CancelFunc
	ended    chan struct{}
}

func (l *testEnv) read(from anchor, maxBytes int, on ...Reason) *reading {
	ctx, cancel := context.WithCancel(l.t.Context())
	r := &reading{chunks: make(chan *chunk), stop: cancel, ended: make(chan struct{})}
	p := testPreparer(l.t, on...)
	p.topics.known["events"] = topicInfo{
		exists: true, maxBytes: 1 << 30, partitions: 1,
		until: time.Now().Add(1000 * time.Hour),
	}
	go func() {
		defer close(r.ended)
		defer close(r.chunks)
		r.err = newStreamReader(l.redis, 0, l.stream(0)).run(ctx, from, p, maxBytes, func() {
			r.caughtUp.Add(1)
		}, func(ctx context.Context, c *chunk) error {
			select {
			case r.chunks <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return r
}

// next takes a chunk.
func (r *reading) next(t *testing.T) *chunk {
	t.Helper()
	c, ok := <-r.chunks
	if !ok {
		t.Fatalf("the reader has ended: %v", r.err)
	}
	if len(c.ids) == 0 {
		t.Fatalf("a chunk without entries: %+v", c)
	}
	return c
}

// end stops the reader and gives its error.
func (r *reading) end() error {
	r.stop()
	for range r.chunks { // what is on its way
	}
	<-r.ended
	return r.err
}

func TestReaderRuns(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		r := l.read(anchor{}, 1<<20)
		synctest.Wait()
		if n := r.caughtUp.Load(); n != 1 { // an idle shard is known to run
			t.Errorf("told %d times that an empty stream has nothing", n)
		}
		var want, got []outbox.EntryID
		for i := range 5000 {
			want = append(want, l.add(0, "*", event(fmt.Sprint(i), "k")...))
		}
		for len(got) < len(want) {
			c := r.next(t)
			got = append(got, c.ids...)
			if c.atEnd != (len(got) == len(want)) {
				t.Errorf("after %d entries: at the end is %v", len(got), c.atEnd)
			}
		}
		if !slices.Equal(got, want) {
			t.Error("not the entries that were added, in their order")
		}
		// One by one, each is found without asking in circles.
		for i := range 10 {
			id := l.add(0, "*", event(fmt.Sprint("late", i), "k")...)
			if c := r.next(t); !slices.Equal(c.ids, []outbox.EntryID{id}) || !c.atEnd {
				t.Errorf("got %v, want %s", c.ids, id)
			}
		}
		if n := r.caughtUp.Load(); n != 1 {
			t.Errorf("told %d times that there is nothing; only the beginning is news", n)
		}
		if err := r.end(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// A reader that begins at the last entry is caught up; one with something to read is not.
func TestReaderCaughtUp(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 3)
		r := l.read(anchor{}, 1<<20)
		c := r.next(t)
		if n := r.caughtUp.Load(); n != 0 {
			t.Errorf("told %d times that a stream of three entries has nothing", n)
		}
		_ = r.end()
		later := l.read(anchor{c.last(), c.fingerprint}, 1<<20)
		synctest.Wait()
		if n := later.caughtUp.Load(); n != 1 {
			t.Errorf("told %d times that there is nothing after the last entry", n)
		}
		_ = later.end()
	})
}

// A failure of what takes the reader's chunks ends the reader.
func TestReaderEndsWithWhatFollowsIt(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 3)
		failed := errors.New("no seat")
		err := newStreamReader(l.redis, 0, l.stream(0)).run(t.Context(), anchor{}, testPreparer(t), 1<<20,
			func() {}, func(context.Context, *chunk) error {
				return failed
			})
		if !errors.Is(err, failed) {
			t.Errorf("ended with %v", err)
		}
	})
}

// Groups come whole, however small the reads are, and as long as a transaction may have as much.
func TestReaderKeepsGroups(t *testing.T) {
	t.Parallel()
	const maxBytes = 1 << 20
	for name, c := range map[string]struct{ groups, size, payload int }{
		"tiny entries":               {40, 7, 10},
		"more than a read at first":  {3, 200, 10},
		"more entries than any read": {1, 2*readEntries + 17, 10},
		"half a transaction":         {3, 5, maxBytes / 9},
		"almost a transaction":       {3, 9, maxBytes / 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				payload := strings.Repeat("x", c.payload)
				group := map[outbox.EntryID]int{}
				for g := range c.groups {
					for more := c.size - 1; more >= 0; more-- {
						fields := []string{
							"id", "e", "aggregatetype", "order", "aggregateid", "k", "type", "T",
							"payload", payload, "headers", "",
						}
						if more > 0 {
							fields = append(fields, "more", strconv.Itoa(more))
						}
						group[l.add(0, "*", fields...)] = g
					}
				}
				l.add(0, "*", event("last", "k")...)
				r := l.read(anchor{}, maxBytes)
				for left := len(group); left > 0; {
					got := map[int]int{}
					for _, id := range r.next(t).ids {
						if g, ok := group[id]; ok {
							got[g]++
							left--
						}
					}
					for g, n := range got {
						if n != c.size {
							t.Fatalf("a chunk has %d of the %d entries of group %d", n, c.size, g)
						}
					}
				}
				_ = r.end()
			})
		})
	}
}

// A group that is larger than a transaction may be is cut, and so is what a faulty writer calls one
// group: the shard goes on.
func TestReaderCutsGiants(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		var want, got []outbox.EntryID
		for range 3000 {
			want = append(want, l.add(0, "*",
				event("e", "k", "more", "1", "contenttype", strings.Repeat("x", 200))...))
		}
		l.add(0, "*", event("last", "k")...)
		before := l.mini.CommandCount()
		r := l.read(anchor{}, 64<<10)
		for len(got) < len(want) {
			got = append(got, r.next(t).ids...)
		}
		if !slices.Equal(got[:len(want)], want) {
			t.Error("not the entries that were added, in their order")
		}
		if commands := l.mini.CommandCount() - before; commands > 300 {
			t.Errorf("%d commands for 3000 entries", commands)
		}
		_ = r.end()
	})
}

func TestReaderHalts(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 3)
		bad := l.add(0, "*", "colour", "red")
		l.addEvents(0, 4, 3)
		r := l.read(anchor{}, 1<<20)
		if c := r.next(t); len(c.ids) != 3 || c.halt == nil || c.halt.Entry != bad {
			t.Errorf("got %v, halt %v", c.ids, c.halt)
		}
		<-r.ended
		var halt *HaltError
		if !errors.As(r.err, &halt) || halt.Entry != bad {
			t.Errorf("ended with %v", r.err)
		}
		// Where nothing comes before it there is only the halt.
		again := l.read(anchor{id: bad.Prev()}, 1<<20)
		<-again.ended
		if !errors.As(again.err, &halt) || halt.Entry != bad {
			t.Errorf("ended with %v", again.err)
		}
	})
}

// Invariant 6, while the reader waits for the next entry: the stream loses what was read, and gets
// new entries.
func TestReaderNoticesRollBack(t *testing.T) {
	t.Parallel()
	for name, roll := range map[string]func(l *testEnv, last outbox.EntryID){
		"emptied": func(l *testEnv, _ outbox.EntryID) { l.mini.Del(l.stream(0)) },
		"emptied and written": func(l *testEnv, last outbox.EntryID) {
			l.mini.Del(l.stream(0))
			l.add(0, outbox.EntryID{MS: last.MS + 1}.String(), event("new", "k")...)
		},
		"the same ID again": func(l *testEnv, last outbox.EntryID) {
			l.mini.Del(l.stream(0))
			l.add(0, last.String(), event("new", "k")...)
			l.add(0, outbox.EntryID{MS: last.MS + 1}.String(), event("newer", "k")...)
		},
		"replaced by text": func(l *testEnv, _ outbox.EntryID) {
			l.mini.Del(l.stream(0))
			if err := l.mini.Set(l.stream(0), "text"); err != nil {
				l.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				l.addEvents(0, 0, 3)
				r := l.read(anchor{}, 1<<20)
				c := r.next(t)
				synctest.Wait() // it blocks for the next entry
				roll(l, c.last())
				<-r.ended
				var halt *HaltError
				if !errors.As(r.err, &halt) {
					t.Fatalf("ended with %v", r.err)
				}
				if name != "replaced by text" && (halt.Expected == "" || halt.Found == "") {
					t.Errorf("halted without evidence: %v", halt)
				}
				_ = r.end()
			})
		})
	}
}

// A relay's memory is bounded when Kafka is slow: the reader stops with what follows it, and goes
// on when that does.
func TestReaderWaitsForWhatFollowsIt(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		for i := range 1000 {
			l.add(0, "*", event(fmt.Sprint(i), "k")...)
		}
		r := l.read(anchor{}, 1<<20)
		entries := 0
		for entries < 1000 {
			synctest.Wait() // nothing moves
			before := l.mini.CommandCount()
			time.Sleep(time.Minute)
			if asked := l.mini.CommandCount() - before; asked != 0 {
				t.Fatalf("%d commands while nobody takes what was read", asked)
			}
			entries += len(r.next(t).ids)
		}
		_ = r.end()
	})
}

// go-redis does not look into raw replies: their errors and redirections are the reader's to see.
func TestReaderRepliesWithErrors(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 2)
		var answer atomic.Value
		var asked, exists atomic.Int64
		answer.Store("")
		l.on(func(c *server.Peer, cmd string, args ...string) bool {
			if cmd == "EXISTS" && args[0] == l.stream(0) {
				exists.Add(1)
				return false
			}
			if cmd != "XRANGE" && cmd != "XREAD" {
				return false
			}
			asked.Add(1)
			text := answer.Load().(string)
			if strings.HasPrefix(text, "MOVED") && exists.Load() > 0 { // the way was shown
				return false
			}
			if text != "" {
				c.WriteError(text)
			}
			return text != ""
		})
		r := newStreamReader(l.redis, 0, l.stream(0))
		for _, text := range []string{
			"LOADING Redis is loading the dataset in memory",
			"NOPERM no permissions", "CLUSTERDOWN Hash slot not served", "ERR whatever",
			"MASTERDOWN Link with MASTER is down",
		} {
			answer.Store(text)
			if _, _, err := r.read(t.Context(), anchor{}); !hasPrefix(err, text) {
				t.Errorf("%s: read gives %v", text, err)
			}
			if err := r.wait(t.Context(), outbox.EntryID{}); !hasPrefix(err, text) {
				t.Errorf("%s: wait gives %v", text, err)
			}
		}
		answer.Store("WRONGTYPE Operation against a key")
		var halt *HaltError
		if _, _, err := r.read(t.Context(), anchor{}); !errors.As(err, &halt) {
			t.Errorf("a key of another type: %v", err)
		}
		answer.Store("MOVED 3999 127.0.0.1:6381")
		if entries, _, err := r.read(t.Context(), anchor{}); err != nil || len(entries) != 2 ||
			exists.Load() != 1 {
			t.Errorf("redirected: %d entries, %v, go-redis was asked for the way %d times", len(entries),
				err, exists.Load())
		}
	})
}

// Entries so large that a reply with two of them is refused at first are read all the same.
func TestReaderLargeEntries(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		payload := strings.Repeat("x", readLimit*2/3)
		var ids []outbox.EntryID
		for i := range 3 {
			ids = append(ids, l.add(0, "*", "id", fmt.Sprint(i), "aggregatetype", "order", "aggregateid",
				"k", "type", "T", "payload", payload, "headers", ""))
		}
		r := newStreamReader(l.redis, 0, l.stream(0))
		for _, id := range ids {
			found, err := r.first(t.Context(), id)
			if err != nil || found == nil || found.id != id || len(found.fields) < len(payload) {
				t.Fatalf("first at or after %s: %v", id, err)
			}
		}
		if found, err := r.first(t.Context(),
			outbox.EntryID{MS: ids[2].MS, Seq: ids[2].Seq + 1}); found != nil || err != nil {
			t.Errorf("after the last: %v, %v", found, err)
		}
		if n, err := r.countAfter(t.Context(), ids[0], ids[2]); n != 2 || err != nil {
			t.Errorf("counted %d entries, %v", n, err)
		}
		run := l.read(anchor{}, 64<<20)
		var got []outbox.EntryID
		for len(got) < 3 {
			got = append(got, run.next(t).ids...)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("got %v, want %v", got, ids)
		}
		_ = run.end()
	})
}
