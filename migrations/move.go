package migrations

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// absent is the version that moveVersion expects where there must be no layout yet.
const absent = ""

// moveScript moves the layout version of an outbox by compare-and-set.
//
//	KEYS[1]  the layout hash; no other key is touched, so it works on a cluster
//	ARGV[1]  the version it must be at, or '' if the hash must not exist
//	ARGV[2]  the version to move to
//	ARGV[3]  format        these two must be what the hash holds;
//	ARGV[4]  shards        they are written only when it is created
//	ARGV[5]  time of creation, Unix ms, written only when it is created
//
// Returns {moved, version, format, shards}: moved is 1 if this call wrote and 0 if the hash was not
// as expected and nothing was written; the others are what the hash holds now, empty for a missing
// field. Fails with WRONGTYPE, without effect, if the key is not a hash. Run twice (a lost reply
// that was retried), the second call returns 0 and the version that the first one wrote.
var moveScript = redis.NewScript(`
local now = redis.call('HMGET', KEYS[1], 'version', 'format', 'shards')
local moved = 0
if ARGV[1] == '' then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'version', ARGV[2], 'format', ARGV[3], 'shards', ARGV[4],
      'created', ARGV[5])
    now = {ARGV[2], ARGV[3], ARGV[4]}
    moved = 1
  end
elseif now[1] == ARGV[1] and now[2] == ARGV[3] and now[3] == ARGV[4] then
  redis.call('HSET', KEYS[1], 'version', ARGV[2])
  now[1] = ARGV[2]
  moved = 1
end
return {moved, now[1] or '', now[2] or '', now[3] or ''}
`)

// moveVersion records that version to is reached. from is the version that the plan found, or
// absent. That another migration has already recorded to, or more, is as good. Anything else is
// ErrOvertaken, or a RefusedError where the layout turned out to be one that this configuration
// cannot work on.
func (m *Migrator) moveVersion(ctx context.Context, from string, to int) error {
	reply, err := moveScript.Run(ctx, m.redis, []string{names.LayoutKey(m.cfg.Outbox)},
		from, to, outbox.FormatVersion, m.cfg.Shards, time.Now().UnixMilli()).Slice()
	if err != nil {
		return err
	}
	if len(reply) != 4 {
		return fmt.Errorf("unexpected reply %v", reply)
	}
	if reply[0] == int64(1) {
		return nil
	}
	fields := make(map[string]string)
	for i, name := range []string{
		outbox.LayoutFieldVersion, outbox.LayoutFieldFormat,
		outbox.LayoutFieldShards,
	} {
		if text, _ := reply[i+1].(string); text != "" {
			fields[name] = text
		}
	}
	now := parseLayout(fields)
	if f := m.cfg.unknown(now); f != nil {
		return &RefusedError{Outbox: m.cfg.Outbox, Findings: []Finding{*f}}
	}
	if now.version < to {
		return fmt.Errorf("%w: version %d is recorded, not %d", ErrOvertaken, now.version, to)
	}
	return nil
}
