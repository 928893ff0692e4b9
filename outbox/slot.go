package outbox

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// StateKey is a key for the application's state that lives in the hash slot of a shard, so that it
// can be changed in one transaction with an append to it: "{orders:3}:name". The shard is part of
// the key: after a change of the number of shards, what depends on it has to be moved.
func StateKey(outbox string, shard int, name string) string {
	return SlotTag(outbox, shard) + ":" + name
}

// SlotError says that a key is in another hash slot than the shard's stream, so that Redis Cluster
// cannot change both in one transaction. Nothing was sent. Build the key with Tx.StateKey or
// StateKey.
type SlotError struct {
	Command    string // the command that uses it, "watch" for a watched key
	Key        string
	Slot       int
	Stream     string
	StreamSlot int
}

func (e *SlotError) Error() string {
	return fmt.Sprintf(
		"%s: key %q is in hash slot %d, the stream %q in %d: one transaction needs one slot; put the "+
			"tag %s into the key",
		e.Command, e.Key, e.Slot, e.Stream, e.StreamSlot, e.Stream[strings.IndexByte(e.Stream, '{'):])
}

// checkSlots finds the first key of the commands or of watch that is not in the stream's slot.
func (w *Writer) checkSlots(ctx context.Context, stream string, cmds []redis.Cmder,
	watch []string,
) error {
	if !w.sameSlot {
		return nil
	}
	want := slot.Of(stream)
	for _, key := range watch {
		if at := slot.Of(key); at != want {
			return &SlotError{Command: "watch", Key: key, Slot: at, Stream: stream, StreamSlot: want}
		}
	}
	if len(cmds) == 0 {
		return nil
	}
	infos := w.commands.Commands(ctx)
	for _, c := range cmds {
		for _, key := range slot.Keys(c.Args(), infos[c.Name()]) {
			if at := slot.Of(key); at != want {
				return &SlotError{Command: c.Name(), Key: key, Slot: at, Stream: stream, StreamSlot: want}
			}
		}
	}
	return nil
}
