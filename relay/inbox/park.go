package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

// parkedKey is a key whose records wait in the dead letters, from First to Last. It stands in Redis
// beside the position and changes in the same EXEC, so a crash, or a Redis that has lost its last
// writes, has both or neither.
//
//	First <= Done+1, Done <= Last; Applied <= Count
type parkedKey struct {
	First int64 `json:"first"` // the offset that failed
	Last  int64 `json:"last"`
	Count int64 `json:"count"` // records from First to Last
	// Done is the offset up to which a replay has applied them; First-1: none. Applied is how many.
	Done    int64  `json:"done"`
	Applied int64  `json:"applied"`
	Reason  Reason `json:"reason"`
	// Detail is of First, or of the record at which the last replay stopped.
	Detail  string `json:"detail,omitempty"`
	SinceMS int64  `json:"since"`
}

// isParked reports whether an earlier record of the key is parked, perhaps in this very segment.
func (t *transaction) isParked(r *kgo.Record) bool {
	if r.Key == nil {
		return false
	}
	if _, ok := t.parked[string(r.Key)]; ok {
		return true
	}
	_, ok := t.p.parked[string(r.Key)]
	return ok
}

// park puts a record into the dead letters and its key among the parked.
func (t *transaction) park(r *kgo.Record, f *failure) {
	t.letters = append(t.letters, &letter{
		record: r, reason: f.reason, detail: f.err.Error(),
		parked: true,
	})
	key := string(r.Key)
	k, ok := t.parked[key]
	if !ok {
		k, ok = t.p.parked[key]
	}
	if !ok {
		k = parkedKey{
			First: r.Offset, Done: r.Offset - 1, Reason: f.reason,
			Detail: oneLine(f.err.Error()), SinceMS: time.Now().UnixMilli(),
		}
	}
	k.Last = r.Offset
	k.Count++
	if t.parked == nil {
		t.parked = map[string]parkedKey{}
	}
	t.parked[key] = k
}

// queueParked puts what changed of the parked keys into the EXEC.
func (t *transaction) queueParked(pipe redis.Pipeliner) {
	for key, k := range t.parked {
		t.p.setParked(t.hard, pipe, key, k)
	}
}

func (p *partition) setParked(ctx context.Context, pipe redis.Pipeliner, key string, k parkedKey) {
	value, err := json.Marshal(k)
	if err != nil {
		panic("inbox: cannot encode a parked key: " + err.Error()) // no field can fail
	}
	pipe.HSet(ctx, p.keys.parked, key, value)
}

// parseParked reads the hash of parked keys.
func parseParked(fields map[string]string) (map[string]parkedKey, error) {
	parked := make(map[string]parkedKey, len(fields))
	for key, value := range fields {
		var k parkedKey
		if err := json.Unmarshal([]byte(value), &k); err != nil {
			return nil, fmt.Errorf("parked key %q: %w", key, err)
		}
		parked[key] = k
	}
	return parked, nil
}

// committed takes over what an EXEC has made true.
func (p *partition) committed(pos Position, raw string, parked map[string]parkedKey) {
	p.pos, p.raw = pos, raw
	p.reached = max(p.reached, pos.Next)
	maps.Copy(p.parked, parked)
	p.tracker.committed(pos, len(p.parked))
}
