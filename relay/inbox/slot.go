package inbox

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// slots checks that commands stay in the hash slot of their partition.
type slots struct {
	table    slot.Table
	required bool
}

// check finds the first key outside the slot of tag; the error is a *SlotError.
func (s *slots) check(ctx context.Context, tag string, cmds []redis.Cmder) error {
	if !s.required || len(cmds) == 0 {
		return nil
	}
	infos := s.table.Commands(ctx)
	for _, c := range cmds {
		for _, key := range slot.Keys(c.Args(), infos[c.Name()]) {
			if err := checkKey(tag, c.Name(), key); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKeys is check for keys that are watched.
func (s *slots) checkKeys(tag, command string, watched []string) error {
	if !s.required {
		return nil
	}
	for _, key := range watched {
		if err := checkKey(tag, command, key); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(tag, command, key string) error {
	if strings.HasPrefix(key, tag) {
		return nil // by far the most
	}
	if at, want := slot.Of(key), slot.Of(tag); at != want {
		return &SlotError{Command: command, Key: key, Slot: at, Tag: tag, TagSlot: want}
	}
	return nil
}
