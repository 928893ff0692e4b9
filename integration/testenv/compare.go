package testenv

import (
	"fmt"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Compare holds records against the entries that they should be of. It looks at one shard's entries
// with one key for the order. A record with another event or payload than its entry's counts as one
// that nobody wrote, and its entry as lost.
func Compare(entries []Entry, records []Record) integration.Report {
	name := func(shard int, id outbox.EntryID, event string, payload uint64) string {
		return fmt.Sprintf("%d/%s %s %x", shard, id, event, payload)
	}
	// Keys of different shards have nothing to do with each other, even if they are spelled alike.
	key := func(shard int, key string) string { return fmt.Sprintf("%d:%s", shard, key) }
	l := integration.NewLedger()
	for i, e := range entries {
		l.Wrote(name(e.Shard, e.ID, e.Event, e.Payload), key(e.Shard, e.Key), i)
	}
	for _, r := range records {
		l.Delivered(integration.Delivery{
			ID: name(r.Shard, r.Entry, r.Event, r.Payload), Key: key(r.Shard, r.Key), Topic: r.Topic,
			Partition: r.Partition, Offset: r.Offset,
		})
	}
	return l.Verify()
}

// CheckPositions says what is wrong with the history of a shard's positions: each must be after
// the one before it, count what lies between, and not stand inside a group of entries of one
// MULTI/EXEC, because records up to a position become visible together (invariants 2 and 8).
// entries are those of all shards.
func CheckPositions(entries []Entry, history map[int][]relay.Position) error {
	type place struct {
		count uint64 // entries of the shard up to this one
		more  bool
	}
	index := map[int]map[outbox.EntryID]place{}
	for _, e := range entries {
		if index[e.Shard] == nil {
			index[e.Shard] = map[outbox.EntryID]place{}
		}
		index[e.Shard][e.ID] = place{uint64(len(index[e.Shard])) + 1, e.More}
	}
	for shard, positions := range history {
		var before relay.Position
		for _, p := range positions {
			at, ok := index[shard][p.Entry]
			switch {
			case p.Entry.IsZero():
				continue // the change of delivery before the first entry
			case !ok:
				return fmt.Errorf("shard %d: position %s is no entry", shard, p.Entry)
			case p.Entry.Compare(before.Entry) < 0:
				return fmt.Errorf("shard %d: position went back from %s to %s", shard, before.Entry, p.Entry)
			case p.Count+p.Missing != at.count:
				return fmt.Errorf("shard %d: position %s counts %d entries and %d missing, it is the %d. entry",
					shard, p.Entry, p.Count, p.Missing, at.count)
			case at.more:
				return fmt.Errorf("shard %d: position %s cuts a group of one MULTI/EXEC", shard, p.Entry)
			}
			before = p
		}
	}
	return nil
}
