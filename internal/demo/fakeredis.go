package demo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// counters complete the stand-in for Redis. Redis counts every entry that it ever added to a stream
// and remembers the greatest that was deleted, and by these an audit tells a record whose entry was
// trimmed from one whose entry never was; miniredis does neither. They are kept here, and XINFO
// STREAM answers with them.
type counters struct {
	miniredis *miniredis.Miniredis

	mu       sync.Mutex
	streams  map[string]*streamCounters
	removing atomic.Pointer[server.Peer] // whose removal is carried out
}

type streamCounters struct {
	added      int64
	last       outbox.EntryID
	maxDeleted outbox.EntryID
}

func countEntries(m *miniredis.Miniredis) *counters {
	c := &counters{miniredis: m, streams: map[string]*streamCounters{}}
	m.Server().SetPreHook(c.before)
	return c
}

// before comes before every command; true: it is done.
func (c *counters) before(peer *server.Peer, cmd string, args ...string) bool {
	switch {
	case cmd == "XINFO" && len(args) == 2 && strings.EqualFold(args[0], "STREAM"):
		return c.info(peer, args[1])
	case (cmd == "XTRIM" || cmd == "XDEL") && len(args) > 1:
		return c.remove(peer, cmd, args)
	}
	return false
}

// remove counts what was added before something is removed. Nothing else is removed meanwhile; what
// is added meanwhile is newer than all that a retention removes, and is counted the next time.
func (c *counters) remove(peer *server.Peer, cmd string, args []string) bool {
	if c.removing.Load() == peer {
		return false // the call below: the command itself
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _ := c.count(args[0])
	if cmd == "XDEL" {
		for _, text := range args[1:] {
			if id, err := outbox.ParseEntryID(text); err == nil && s.maxDeleted.Less(id) {
				s.maxDeleted = id
			}
		}
	}
	c.removing.Store(peer)
	defer c.removing.Store(nil)
	c.miniredis.Server().Dispatch(peer, append([]string{cmd}, args...))
	return true
}

// count adds what is new in a stream. The caller holds mu.
func (c *counters) count(key string) (*streamCounters, []miniredis.StreamEntry) {
	s := c.streams[key]
	if s == nil {
		s = &streamCounters{}
		c.streams[key] = s
	}
	entries, err := c.miniredis.Stream(key)
	if err != nil {
		return s, nil // the key has another type
	}
	last := s.last
	for i := len(entries) - 1; i >= 0; i-- {
		id, err := outbox.ParseEntryID(entries[i].ID)
		if err != nil || !last.Less(id) {
			break
		}
		s.added++
		if s.last.Less(id) {
			s.last = id
		}
	}
	return s, entries
}

func (c *counters) info(peer *server.Peer, key string) bool {
	if !c.miniredis.Exists(key) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, entries := c.count(key)
	peer.WriteMapLen(6)
	peer.WriteBulk("length")
	peer.WriteInt(len(entries))
	peer.WriteBulk("last-generated-id")
	peer.WriteBulk(s.last.String())
	peer.WriteBulk("max-deleted-entry-id")
	peer.WriteBulk(s.maxDeleted.String())
	peer.WriteBulk("entries-added")
	peer.WriteInt(int(s.added))
	for _, edge := range []struct {
		name string
		at   int
	}{{"first-entry", 0}, {"last-entry", len(entries) - 1}} {
		peer.WriteBulk(edge.name)
		if len(entries) == 0 {
			peer.WriteNull()
			continue
		}
		e := entries[edge.at]
		peer.WriteLen(2)
		peer.WriteBulk(e.ID)
		peer.WriteLen(len(e.Values))
		for _, v := range e.Values {
			peer.WriteBulk(v)
		}
	}
	return true
}

// forget makes an entry one that never was, as a replica does that is promoted without it. Nobody
// else may remove entries meanwhile.
func (c *counters) forget(ctx context.Context, client *redis.Client, key, id string) error {
	c.mu.Lock()
	s, _ := c.count(key)
	before := s.maxDeleted
	c.mu.Unlock()
	if err := client.XDel(ctx, key, id).Err(); err != nil {
		return fmt.Errorf("in-memory Redis: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.added--
	s.maxDeleted = before
	return nil
}
