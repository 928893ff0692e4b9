package preflight

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// What INFO says leads to one level each.
func TestNode(t *testing.T) {
	fine := map[string]string{
		"redis_version": "7.0.15", "role": "master",
		"maxmemory_policy": "noeviction", "maxmemory": "0", "aof_enabled": "1",
	}
	tests := []struct {
		name        string
		key, value  string
		also        map[string]string
		level       Level
		wantInWords string
	}{
		{"old", "redis_version", "6.2.14", nil, Fail, "before 7.0 streams do not count"},
		{"valkey", "valkey_version", "9.1.2", nil, OK, "Valkey 9.1.2"},
		{"no version", "redis_version", "", nil, Warn, "does not tell its version"},
		{"replica", "role", "slave", nil, Fail, "cannot be written to"},
		{"cluster node", "cluster_enabled", "1", nil, Fail, "node of a cluster"},
		{
			"evicts", "maxmemory_policy", "allkeys-lru",
			map[string]string{"maxmemory": "1048576", "maxmemory_human": "1.00M"},
			Fail,
			"may delete a whole stream",
		},
		{"would evict", "maxmemory_policy", "allkeys-lru", nil, Warn, "as long as there is no maxmemory"},
		{"evicts markers", "maxmemory_policy", "volatile-ttl", nil, Warn, "appends twice"},
		{
			"limited", "maxmemory", "1048576",
			map[string]string{"maxmemory_human": "1.00M"},
			OK,
			"refuses appends, and loses nothing",
		},
		{"no append-only file", "aof_enabled", "0", nil, Warn, "loses what came after the last snapshot"},
		{"append-only file fails", "aof_last_write_status", "err", nil, Fail, "refuses writes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := map[string]string{tt.key: tt.value}
			for k, v := range fine {
				if _, set := info[k]; !set {
					info[k] = v
				}
			}
			for k, v := range tt.also {
				info[k] = v
			}
			client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
			defer client.Close()
			c := &checker{redis: client}
			c.checkNode(t.Context(), c.area("redis"), node{client: client, info: info})
			found := false
			for _, f := range c.all {
				if f.Level == tt.level && strings.Contains(f.Detail, tt.wantInWords) {
					found = true
				} else if f.Level != OK {
					t.Errorf("unexpected: %+v", f)
				}
				if (f.Fix == "") != (f.Level == OK) {
					t.Errorf("a finding has no advice, or needs none: %+v", f)
				}
			}
			if !found {
				t.Errorf("no %s finding with %q in %+v", tt.level, tt.wantInWords, c.all)
			}
		})
	}
}

func TestParseInfo(t *testing.T) {
	got := parseInfo("# Server\r\nredis_version:7.0.15\r\nexecutable:/usr/bin/a:b\r\n\r\n")
	if len(got) != 2 || got["redis_version"] != "7.0.15" || got["executable"] != "/usr/bin/a:b" {
		t.Errorf("got %v", got)
	}
}
