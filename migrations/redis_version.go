package migrations

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// redisVersion is the version that a server reports.
type redisVersion struct {
	text  string // as reported, for example "7.0.15"; "" if the server does not report one
	major int
}

// known reports whether the server reported its version. Substitutes for tests and some proxies do
// not.
func (v redisVersion) known() bool { return v.text != "" }

// old reports a server before 7.0, which does not keep the counters of a stream (entries-added,
// entries-read) that show its lag and whether it was ever trimmed.
func (v redisVersion) old() bool { return v.known() && v.major < 7 }

// oldestRedis asks every master for its version and returns the oldest that is known.
func oldestRedis(ctx context.Context, rdb redis.UniversalClient) (redisVersion, error) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return askRedisVersion(ctx, rdb)
	}
	var mu sync.Mutex
	var oldest redisVersion
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		v, err := askRedisVersion(ctx, node)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if !oldest.known() || v.known() && v.major < oldest.major {
			oldest = v
		}
		return nil
	})
	return oldest, err
}

// askRedisVersion asks with HELLO, which every user may, whatever the ACL (it is how one logs in),
// and then with INFO, since before 6.2 HELLO wants an argument. For a server that answers neither
// the version is unknown. NOAUTH or LOADING count as no answer too: the next command of the
// migration gets the same reply and reports it.
func askRedisVersion(ctx context.Context, rdb redis.UniversalClient) (redisVersion, error) {
	reply, err := rdb.Do(ctx, "HELLO").Result()
	if err == nil {
		return parseRedisVersion(helloVersion(reply)), nil
	}
	var refused redis.Error
	if !errors.As(err, &refused) {
		return redisVersion{}, err
	}
	info, err := rdb.Info(ctx, "server").Result()
	if errors.As(err, &refused) {
		return redisVersion{}, nil
	}
	if err != nil {
		return redisVersion{}, err
	}
	return parseRedisVersion(infoVersion(info)), nil
}

// helloVersion finds the version in the reply of HELLO, a map in RESP3 and a flat list in RESP2.
func helloVersion(reply any) string {
	switch r := reply.(type) {
	case map[any]any:
		text, _ := r["version"].(string)
		return text
	case []any:
		for i := 0; i+1 < len(r); i += 2 {
			if r[i] == "version" {
				text, _ := r[i+1].(string)
				return text
			}
		}
	}
	return ""
}

// infoVersion finds the version in the reply of INFO.
func infoVersion(reply string) string {
	for line := range strings.Lines(reply) {
		if text, ok := strings.CutPrefix(line, "redis_version:"); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// parseRedisVersion reads the major version; what it cannot read counts as unknown.
func parseRedisVersion(text string) redisVersion {
	first, _, _ := strings.Cut(text, ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return redisVersion{}
	}
	return redisVersion{text: text, major: major}
}
