package migrations

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// readLayout reads the layout hash. It is more forgiving than outbox.ReadLayout, which is for those
// who need a finished layout: here a claimed one (version 0) and a broken one are states to report.
func readLayout(ctx context.Context, rdb redis.UniversalClient, name string) (layoutState, error) {
	fields, err := rdb.HGetAll(ctx, names.LayoutKey(name)).Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return layoutState{exists: true, fault: WrongType, detail: "is not a hash"}, nil
		}
		return layoutState{}, err
	}
	return parseLayout(fields), nil
}

// parseLayout reads the fields of the layout hash; no fields mean no layout.
func parseLayout(fields map[string]string) layoutState {
	if len(fields) == 0 {
		return layoutState{}
	}
	l := layoutState{exists: true}
	for _, f := range []struct {
		name  string
		least int
		into  *int
	}{
		{outbox.LayoutFieldVersion, 0, &l.version},
		{outbox.LayoutFieldFormat, 1, &l.format},
		{outbox.LayoutFieldShards, 1, &l.shards},
	} {
		n, err := strconv.Atoi(fields[f.name])
		if err != nil || n < f.least {
			l.fault = UnreadableLayout
			l.detail = fmt.Sprintf("field %q is %q, want a number from %d", f.name, fields[f.name], f.least)
			return l
		}
		*f.into = n
	}
	// Nothing depends on the time of creation, so one that cannot be read is as good as none.
	l.created, _ = strconv.ParseInt(fields[outbox.LayoutFieldCreated], 10, 64)
	return l
}

// readStreams reads the type of every shard's key, and of those that are streams the groups and
// whether they had entries. It takes two round trips (to each node), however many shards there are.
// beyond: there is a stream for the shard after the last.
func readStreams(ctx context.Context, rdb redis.UniversalClient,
	cfg Config,
) (streams []streamState, beyond bool, err error) {
	types := make([]*redis.StatusCmd, cfg.Shards+1)
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range types {
			types[shard] = p.Type(ctx, outbox.StreamKey(cfg.Outbox, shard))
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}

	streams = make([]streamState, cfg.Shards)
	groups := make([]*redis.XInfoGroupsCmd, cfg.Shards)
	infos := make([]*redis.XInfoStreamCmd, cfg.Shards)
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard := range streams {
			streams[shard].kind = types[shard].Val()
			if streams[shard].kind == "stream" {
				key := outbox.StreamKey(cfg.Outbox, shard)
				groups[shard], infos[shard] = p.XInfoGroups(ctx, key), p.XInfoStream(ctx, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for shard := range streams {
		if groups[shard] == nil {
			continue
		}
		last := infos[shard].Val().LastGeneratedID
		streams[shard].used = last != "" && last != "0-0"
		streams[shard].group = slices.ContainsFunc(groups[shard].Val(), func(g redis.XInfoGroup) bool {
			return g.Name == names.ConsumerGroup
		})
	}
	return streams, types[cfg.Shards].Val() == "stream", nil
}

// createGroup creates a shard's consumer group at 0, and its stream if that does not exist. It is
// idempotent: a group that exists stays where it is. The reply proves that both exist.
//
// For a new stream ENTRIESREAD 0 lets Redis count what the group reads from the first entry on. Of
// a stream that exists, and may have been trimmed, it would be false; there Redis finds the count
// and the lag itself. A server without that argument, which a real one of 7.0 or later is not, is
// asked without it.
func (m *Migrator) createGroup(ctx context.Context, key string, missing Kind) error {
	var more []any
	if missing == KindStream {
		more = []any{"ENTRIESREAD", "0"}
	}
	err := m.xgroupCreate(ctx, key, more...)
	if more != nil && err != nil && strings.HasPrefix(err.Error(), "ERR") {
		err = m.xgroupCreate(ctx, key)
	}
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return err
}

func (m *Migrator) xgroupCreate(ctx context.Context, key string, more ...any) error {
	args := append([]any{"XGROUP", "CREATE", key, names.ConsumerGroup, "0", "MKSTREAM"}, more...)
	return m.redis.Do(ctx, args...).Err()
}
