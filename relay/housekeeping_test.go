package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// source makes the source of shard 0, beside a relay that does not run.
func (l *testEnv) source(t *testing.T, cfg Config) *stream {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.client = l.kafka
	r.topics = newTopics(l.kafka, r.cfg.Topics, func() int { return l.shards }, r.cfg.Logger)
	return newStream(r, 0)
}

func TestLag(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		now := time.Now()
		entry := outbox.EntryID{MS: uint64(now.UnixMilli())}
		later := outbox.EntryID{MS: entry.MS + 1}
		next := func(ago time.Duration) []redis.XMessage {
			return []redis.XMessage{{ID: outbox.EntryID{
				MS:  uint64(now.Add(-ago).UnixMilli()),
				Seq: 5,
			}.String()}}
		}
		for _, c := range []struct {
			name          string
			pos           Position
			missing       uint64
			added, length int64
			last          outbox.EntryID
			next          []redis.XMessage
			lag           int64
			oldest        time.Duration
			gone          uint64
		}{
			{name: "new and empty"},
			{
				name: "nothing delivered yet", added: 10, length: 10, last: later, next: next(time.Minute),
				lag: 10, oldest: time.Minute,
			},
			{name: "all delivered", pos: Position{Entry: entry, Count: 10}, added: 10, last: entry},
			{
				name: "some wait", pos: Position{Entry: entry, Count: 7}, added: 10, last: later,
				next: next(3 * time.Second), lag: 3, oldest: 3 * time.Second,
			},
			{
				name: "some wait, some were gone", pos: Position{Entry: entry, Count: 5}, missing: 2, added: 10,
				last: later, next: next(0), lag: 3,
			},
			{
				name: "what waited was deleted", pos: Position{Entry: entry, Count: 7}, added: 10, last: later,
				lag: 0,
			},
			{
				name: "gone before delivery", pos: Position{Entry: entry, Count: 7}, added: 10, last: entry,
				gone: 3,
			},
			{
				name: "gone, and known to be", pos: Position{Entry: entry, Count: 7}, missing: 3, added: 10,
				last: entry,
			},
			{name: "count unknown", pos: Position{Entry: entry}, added: 10, last: entry},
			{
				name: "counted by the group",
				pos:  Position{Entry: entry, Count: 7, Delivery: DeliveryAtLeastOnce}, added: 10, last: entry,
			},
			{
				name: "counts that contradict", pos: Position{Entry: entry, Count: 20}, added: 10, last: later,
				next: next(0), lag: 1,
			},
			{
				name: "no counter, some wait", pos: Position{Entry: entry, Count: 7}, length: 3, last: later,
				next: next(time.Second), lag: -1, oldest: time.Second,
			},
			{name: "no counter, nothing waits", pos: Position{Entry: entry, Count: 7}, last: later},
			{
				name: "an ID from the future", added: 1, length: 1, last: later, next: next(-time.Hour),
				lag: 1,
			},
			{
				name: "an ID that is none", added: 1, length: 1, last: later, next: []redis.XMessage{{ID: "x"}},
				lag: 1, oldest: -1,
			},
		} {
			s := l.source(t, l.config())
			s.tracker.begin(c.pos)
			s.tracker.lost(int64(c.missing - c.pos.Missing))
			info := &redis.XInfoStream{
				EntriesAdded: c.added, Length: c.length,
				LastGeneratedID: c.last.String(),
			}
			lag, oldest := s.keeper.lag(c.pos, info, c.next)
			if lag != c.lag || oldest != c.oldest || s.tracker.missing() != c.missing+c.gone {
				t.Errorf("%s: lag %d, oldest %s, missing %d; want %d, %s, %d", c.name, lag, oldest,
					s.tracker.missing(), c.lag, c.oldest, c.missing+c.gone)
			}
		}
	})
}

// trims records the trims that a relay asks for.
func (l *testEnv) trims() func() []string {
	var mu sync.Mutex
	var asked []string
	l.on(func(_ *server.Peer, cmd string, args ...string) bool {
		if cmd == "XTRIM" {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, strings.Join(args[1:], " "))
		}
		return false
	})
	return func() []string { mu.Lock(); defer mu.Unlock(); return asked }
}

// Promise 4: never above the confirmed position, never younger than the retention, and never the
// anchor itself.
func TestTrim(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep      time.Duration
		confirmed time.Duration // ago
		want      time.Duration // ago; negative: no trim
	}{
		"by retention":         {keep: time.Hour, confirmed: time.Minute, want: time.Hour},
		"by position":          {keep: time.Hour, confirmed: 3 * time.Hour, want: 3 * time.Hour},
		"at once":              {keep: time.Nanosecond, confirmed: time.Minute, want: time.Minute},
		"never":                {keep: -1, confirmed: time.Minute, want: -1},
		"nothing confirmed":    {keep: time.Nanosecond, confirmed: -1, want: -1},
		"position from future": {keep: time.Hour, confirmed: -time.Hour, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				asked := l.trims()
				id := func(ago time.Duration) outbox.EntryID {
					return outbox.EntryID{MS: uint64(time.Now().Add(-ago).UnixMilli())}
				}
				for _, ago := range []time.Duration{
					5 * time.Hour, 3 * time.Hour, 2 * time.Hour, time.Hour,
					time.Minute, 0,
				} {
					l.add(0, id(ago).String(), event("e", "k")...)
				}
				cfg := l.config()
				cfg.Trim.Keep = c.keep
				trimmed := int64(0)
				cfg.Observer.Trimmed = func(_ int, n int64) { trimmed += n }
				confirmed := id(c.confirmed)
				if c.confirmed == -1 {
					confirmed = outbox.EntryID{}
				}
				// The position has no anchor: this is about what is confirmed.
				if err := l.source(t, cfg).keeper.trim(t.Context(), Position{Entry: confirmed},
					confirmed); err != nil {
					t.Fatal(err)
				}
				if c.want < 0 {
					if len(asked()) != 0 {
						t.Errorf("asked for %v", asked())
					}
					return
				}
				if got, want := asked()[0], fmt.Sprintf("minid ~ %s limit %d", id(c.want),
					trimLimit); !strings.EqualFold(got, want) {
					t.Errorf("asked for %q, want %q", got, want)
				}
				entries, err := l.mini.Stream(l.stream(0))
				if err != nil || len(entries) == 0 || entries[0].ID != id(c.want).String() ||
					int64(6-len(entries)) != trimmed {
					t.Errorf("%d entries are left, %d were reported as trimmed, %v", len(entries), trimmed, err)
				}
			})
		})
	}
}

// A limit lets go what the retention and the position let go, up to the limit, and nothing as long
// as it is not known. How long the rest has been due is told.
func TestTrimLimit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit time.Duration // ago; negative: 0-0
		err   error
		want  time.Duration // ago; negative: no trim
		held  time.Duration
	}{
		"after the retention": {limit: 3 * time.Hour, want: 3 * time.Hour, held: time.Hour},
		"at the retention":    {limit: time.Hour, want: time.Hour},
		"beyond it":           {limit: time.Minute, want: time.Hour},
		"beyond the position": {limit: 0, want: time.Hour},
		"not known":           {limit: -1, want: -1, held: 4 * time.Hour},
		"failing": {
			limit: time.Minute, err: errors.New("nobody knows"), want: -1,
			held: 4 * time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				asked := l.trims()
				id := func(ago time.Duration) outbox.EntryID {
					return outbox.EntryID{MS: uint64(time.Now().Add(-ago).UnixMilli())}
				}
				var ids []outbox.EntryID
				for _, ago := range []time.Duration{
					5 * time.Hour, 3 * time.Hour, 2 * time.Hour, time.Hour,
					time.Minute, 0,
				} {
					ids = append(ids, l.add(0, id(ago).String(), event("e", "k")...))
				}
				cfg := l.config()
				cfg.Trim.Keep = time.Hour
				cfg.Trim.Limit = func(_ context.Context, shard int) (outbox.EntryID, error) {
					if c.limit < 0 || shard != 0 {
						return outbox.EntryID{}, c.err
					}
					return id(c.limit), c.err
				}
				s := l.source(t, cfg)
				s.tracker.begin(Position{Entry: ids[4], Count: 5})
				err := s.keeper.follow(t.Context(), mirror{s.group})
				if !errors.Is(err, c.err) {
					t.Errorf("got %v, want %v", err, c.err)
				}
				first, err := outbox.ParseEntryID(mustStream(t, l, 0)[0].ID)
				if err != nil {
					t.Fatal(err)
				}
				if c.want < 0 {
					if len(asked()) != 0 || first != ids[0] {
						t.Errorf("asked for %v, the first entry is %s", asked(), first)
					}
				} else if first != id(c.want) {
					t.Errorf("the first entry is %s after %v, want %s", first, asked(), id(c.want))
				}
				// Lag and the rest are measured whatever the limit says.
				if st := s.tracker.Status(); st.TrimHeld != c.held || st.OldestUndelivered != 0 || st.Lag < 0 {
					t.Errorf("held back for %s, want %s: %+v", st.TrimHeld, c.held, st)
				}
			})
		})
	}
}

func mustStream(t *testing.T, l *testEnv, shard int) []miniredis.StreamEntry {
	t.Helper()
	entries, err := l.mini.Stream(l.stream(shard))
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	return entries
}

// An entry that an ex-owner took late is pending below the position, undelivered: it must outlive
// the trim.
func TestTrimSparesPendingEntries(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		cfg := l.config()
		cfg.Delivery, cfg.Trim.Keep = DeliveryAtLeastOnce, time.Nanosecond
		s := l.source(t, cfg)
		var ids []outbox.EntryID
		for i := range 5 {
			ids = append(ids, l.add(0, outbox.EntryID{MS: uint64(i + 1)}.String(),
				event(fmt.Sprint(i), "k")...))
		}
		read := func(consumer string, n int64) {
			t.Helper()
			if err := l.redis.XReadGroup(t.Context(),
				&redis.XReadGroupArgs{
					Group: names.ConsumerGroup, Consumer: consumer,
					Streams: []string{l.stream(0), ">"}, Count: n, Block: -1,
				}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		read("relay-1", 1)
		read("ex-owner", 1)
		read("relay-1", 3)
		for _, id := range []outbox.EntryID{ids[0], ids[2], ids[3], ids[4]} {
			if err := l.redis.XAck(t.Context(), l.stream(0), names.ConsumerGroup,
				id.String()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		g := &groupReader{stream: s}
		confirmed, err := g.confirmed(t.Context(), Position{Entry: ids[4]})
		if err != nil || confirmed.Compare(ids[1]) >= 0 || confirmed.Compare(ids[0]) < 0 {
			t.Errorf("everything up to %s is taken for confirmed, entry %s is pending; %v", confirmed,
				ids[1], err)
		}
		if err := l.redis.XAck(t.Context(), l.stream(0), names.ConsumerGroup,
			ids[1].String()).Err(); err != nil {
			t.Fatal(err)
		}
		if confirmed, err = g.confirmed(t.Context(), Position{Entry: ids[4]}); err != nil ||
			confirmed != ids[4] {
			t.Errorf("with nothing pending: %s, %v", confirmed, err)
		}
	})
}

// Redis shows the position in the group, and shows it again after somebody has destroyed the group
// or set it back.
func TestMirror(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		var mu sync.Mutex
		var set []string
		var answer atomic.Value
		answer.Store("")
		l.on(func(c *server.Peer, cmd string, args ...string) bool {
			if cmd != "XGROUP" || !strings.EqualFold(args[0], "SETID") { // which miniredis does not know
				return false
			}
			mu.Lock()
			set = append(set, strings.Join(args[3:], " "))
			mu.Unlock()
			if text := answer.Load().(string); text != "" {
				c.WriteError(text)
			} else {
				c.WriteOK()
			}
			return true
		})
		s := l.source(t, l.config())
		m := mirror{s.group}
		pos := Position{Entry: outbox.EntryID{MS: 5}, Count: 7, Missing: 2}
		shown := &redis.XInfoGroup{LastDeliveredID: "5-0", EntriesRead: 9}
		for name, c := range map[string]struct {
			group  *redis.XInfoGroup
			answer string
			asked  int
			fails  bool
		}{
			"not known": {nil, "", 1, false},
			"shown":     {shown, "", 0, false},
			"set back": {
				&redis.XInfoGroup{LastDeliveredID: "4-0", EntriesRead: 8}, "", 1,
				false,
			},
			"counter unknown": {&redis.XInfoGroup{LastDeliveredID: "5-0"}, "", 1, false},
			"destroyed":       {nil, "NOGROUP No such key or consumer group", 1, false},
			"no stream": {
				nil, "ERR The XGROUP subcommand requires the key to exist. Note that",
				1, false,
			},
			"unknown to the server": {
				nil, "ERR Unknown subcommand or wrong number of arguments for 'SETID'",
				1, false,
			},
			"read-only": {nil, "READONLY You can't write against a read only replica.", 1, true},
		} {
			mu.Lock()
			set = nil
			mu.Unlock()
			answer.Store(c.answer)
			if err := m.mirror(t.Context(), pos, c.group); (err != nil) != c.fails {
				t.Errorf("%s: %v", name, err)
			}
			mu.Lock()
			// go-redis repeats some
			if (len(set) > 0) != (c.asked > 0) || c.asked > 0 && set[0] != "5-0 ENTRIESREAD 9" {
				t.Errorf("%s: asked for %v", name, set)
			}
			mu.Unlock()
		}
		// Destroyed for real: made again at the position, neither at the end nor at the beginning.
		if err := l.redis.XGroupDestroy(t.Context(), l.stream(0), names.ConsumerGroup).Err(); err != nil {
			t.Fatal(err)
		}
		answer.Store("NOGROUP No such key or consumer group")
		if err := m.mirror(t.Context(), pos, nil); err != nil {
			t.Fatal(err)
		}
		if group, err := s.group.info(t.Context()); err != nil || group == nil ||
			group.LastDeliveredID != "5-0" {
			t.Errorf("group %+v, %v", group, err)
		}
	})
}

// What waits is seen while Kafka is away, which is when an alert is needed.
func TestMeasuresWithoutKafka(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 10)
		cfg := l.config()
		cfg.Assign = []int{0}
		r, stop := l.run(cfg)
		defer stop()
		l.consume(10, "outbox.event.order")
		l.until(r, 0, StateRunning)
		l.cluster.Close()
		l.addEvents(0, 10, 5)
		l.until(r, 0, StateWaiting)
		time.Sleep(time.Minute)
		st := r.Status()[0]
		if st.Lag != 5 || st.OldestUndelivered < time.Minute || st.State != StateWaiting {
			t.Errorf("lag %d, oldest %s, %s: %s", st.Lag, st.OldestUndelivered, st.State, st.Reason)
		}
		if err := r.Ready(); err == nil {
			t.Error("ready without Kafka")
		}
	})
}

func TestHousekeepingGoesOn(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		var broken atomic.Bool
		l.on(func(c *server.Peer, cmd string, _ ...string) bool {
			if broken.Load() && (cmd == "XINFO" || cmd == "XTRIM" || cmd == "XGROUP") {
				c.WriteError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable " +
					"to persist to disk")
				return true
			}
			return false
		})
		l.addEvents(0, 0, 1)
		r, stop := l.run(l.config())
		defer stop()
		l.consume(1, "outbox.event.order")
		broken.Store(true)
		time.Sleep(5 * time.Second)
		l.addEvents(0, 1, 1)
		l.consume(2, "outbox.event.order")
		if st := r.Status()[0]; st.State != StateRunning {
			t.Errorf("%s: %s", st.State, st.Reason)
		}
		broken.Store(false)
		l.addEvents(0, 2, 1)
		time.Sleep(5 * time.Second)
		if st := r.Status()[0]; st.Lag != 0 || st.OldestUndelivered != 0 {
			t.Errorf("lag %d, oldest %s", st.Lag, st.OldestUndelivered)
		}
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	})
}
