package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Report is what a relay says of a shard.
type Report struct {
	Shard int `json:"shard"`
	// State is a state of package relay.
	State    string `json:"state"`
	Instance string `json:"instance"`
	Delivery string `json:"delivery"`
	SinceMS  int64  `json:"since"` // Unix milliseconds, as AtMS
	Reason   string `json:"reason,omitempty"`
	// Entry, Expected and Found are the evidence of a halt.
	Entry    string `json:"entry,omitempty"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	AtMS     int64  `json:"at"`
}

// WriteReports writes the reports of some shards, and leaves those of the others.
func WriteReports(ctx context.Context, client redis.UniversalClient, outboxName string,
	reports []Report,
) error {
	if len(reports) == 0 {
		return nil
	}
	values := make([]any, 0, 2*len(reports))
	for _, r := range reports {
		value, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("status of shard %d: %w", r.Shard, err)
		}
		values = append(values, strconv.Itoa(r.Shard), value)
	}
	key := names.StatusKey(outboxName)
	if err := client.HSet(ctx, key, values...).Err(); err != nil {
		return fmt.Errorf("redis: HSET %s: %w", key, err)
	}
	return nil
}

// ReadReports reads the reports of all shards that have one. A value that is no report is passed
// over.
func ReadReports(ctx context.Context, client redis.UniversalClient,
	outboxName string,
) (map[int]Report, error) {
	key := names.StatusKey(outboxName)
	fields, err := client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: HGETALL %s: %w", key, err)
	}
	reports := map[int]Report{}
	for field, value := range fields {
		var r Report
		if shard, err := strconv.Atoi(field); err == nil && json.Unmarshal([]byte(value), &r) == nil {
			reports[shard] = r
		}
	}
	return reports, nil
}
