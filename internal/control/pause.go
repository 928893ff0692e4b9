package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Pause is why shards are not delivered. Relays follow within their housekeeping interval.
type Pause struct {
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// All means every shard where one is asked for.
const All = -1

// Pauses are the pauses of an outbox: that of all shards, nil if there is none, and those of single
// shards.
type Pauses struct {
	All    *Pause
	Shards map[int]Pause
}

// pauseJSON is the value of a field of the control hash.
type pauseJSON struct {
	At     int64  `json:"at"` // Unix milliseconds
	By     string `json:"by"`
	Reason string `json:"reason"`
}

func pauseField(shard int) string {
	if shard == All {
		return "pause"
	}
	return "pause:" + strconv.Itoa(shard)
}

// SetPause pauses a shard, or All, and replaces a pause that is there. It is durable: relays that
// start later follow it, too.
func SetPause(ctx context.Context, client redis.UniversalClient, outboxName string, shard int,
	p Pause,
) error {
	value, err := json.Marshal(pauseJSON{At: p.At.UnixMilli(), By: p.By, Reason: p.Reason})
	if err != nil {
		return err
	}
	if err := client.HSet(ctx, names.ControlKey(outboxName), pauseField(shard),
		value).Err(); err != nil {
		return fmt.Errorf("redis: HSET %s: %w", names.ControlKey(outboxName), err)
	}
	return nil
}

// RemovePause ends the pause of a shard, or the pause of All, which leaves pauses of single shards.
// It reports whether there was one.
func RemovePause(ctx context.Context, client redis.UniversalClient, outboxName string,
	shard int,
) (bool, error) {
	n, err := client.HDel(ctx, names.ControlKey(outboxName), pauseField(shard)).Result()
	if err != nil {
		return false, fmt.Errorf("redis: HDEL %s: %w", names.ControlKey(outboxName), err)
	}
	return n > 0, nil
}

// ReadPauses reads the control hash.
func ReadPauses(ctx context.Context, client redis.UniversalClient,
	outboxName string,
) (Pauses, error) {
	fields, err := client.HGetAll(ctx, names.ControlKey(outboxName)).Result()
	if err != nil {
		return Pauses{}, fmt.Errorf("redis: HGETALL %s: %w", names.ControlKey(outboxName), err)
	}
	return parsePauses(fields), nil
}

// parsePauses takes a value that is not JSON for a reason: whoever wrote it by hand meant it.
func parsePauses(fields map[string]string) Pauses {
	pauses := Pauses{Shards: map[int]Pause{}}
	for field, value := range fields {
		var v pauseJSON
		if json.Unmarshal([]byte(value), &v) != nil {
			v = pauseJSON{Reason: value}
		}
		p := Pause{By: v.By, Reason: v.Reason}
		if v.At > 0 {
			p.At = time.UnixMilli(v.At).UTC()
		}
		number, single := strings.CutPrefix(field, "pause:")
		shard, err := strconv.Atoi(number)
		switch {
		case field == "pause":
			pauses.All = &p
		case single && err == nil:
			pauses.Shards[shard] = p
		}
	}
	return pauses
}

// Of gives the pause that holds a shard, nil if none does.
func (p Pauses) Of(shard int) *Pause {
	if p.All != nil {
		return p.All
	}
	if one, ok := p.Shards[shard]; ok {
		return &one
	}
	return nil
}

func (p Pause) String() string {
	text := "paused"
	if p.By != "" {
		text += " by " + p.By
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}
