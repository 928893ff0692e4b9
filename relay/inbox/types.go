package inbox

import (
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// typesOf is which type of their first key commands need. Commands that take any type, or replace
// the key, are not in it.
var typesOf = func() map[string]string {
	types := map[string]string{}
	for kind, commands := range map[string][]string{
		"string": {
			"append", "incr", "incrby", "incrbyfloat", "decr", "decrby", "getset", "getdel", "getex",
			"setrange", "setbit", "bitfield",
			"pfadd", "get", "strlen",
		},
		"hash": {
			"hset", "hsetnx", "hmset", "hdel", "hincrby", "hincrbyfloat", "hexpire", "hpexpire",
			"hget", "hgetall", "hmget",
		},
		"list": {
			"lpush", "rpush", "lpushx", "rpushx", "lpop", "rpop", "lset", "lrem", "ltrim",
			"linsert", "lmove", "rpoplpush", "lrange",
		},
		"set": {"sadd", "srem", "spop", "smove", "smembers", "sismember"},
		"zset": {
			"zadd", "zrem", "zincrby", "zremrangebyrank", "zremrangebyscore", "zremrangebylex",
			"zpopmin", "zpopmax", "geoadd", "zrange",
		},
		"stream": {"xadd", "xtrim", "xdel", "xack", "xgroup", "xsetid", "xclaim", "xautoclaim"},
	} {
		for _, c := range commands {
			types[c] = kind
		}
	}
	return types
}()

// checkTypes watches the keys of cmds and asks for their types. The error is about the record, and
// nothing was sent of it, unless it is the server's.
func (t *transaction) checkTypes(offset int64, cmds []redis.Cmder) error {
	var names []string
	for _, c := range cmds {
		args := c.Args()
		if _, ok := typesOf[c.Name()]; ok && len(args) > 1 {
			names = append(names, slot.Text(args[1]))
		}
	}
	if len(names) == 0 {
		return t.follow(offset, cmds, map[string]string{})
	}
	if err := t.conn.Watch(t.hard, names...).Err(); err != nil {
		return fmt.Errorf("redis: WATCH: %w", err)
	}
	found := make([]*redis.StatusCmd, len(names))
	_, err := t.conn.Pipelined(t.hard, func(pipe redis.Pipeliner) error {
		for i, name := range names {
			found[i] = pipe.Type(t.hard, name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("redis: TYPE: %w", err)
	}
	now := map[string]string{}
	for i, name := range names {
		now[name] = found[i].Val()
	}
	return t.follow(offset, cmds, now)
}

// follow walks through the commands with the types that Redis has now.
func (t *transaction) follow(offset int64, cmds []redis.Cmder, now map[string]string) error {
	for name, kind := range t.types { // what is queued has not run yet
		now[name] = kind
	}
	for _, c := range cmds {
		if err := advance(now, c); err != nil {
			return &failure{offset: offset, reason: WrongType, final: true, err: err}
		}
	}
	t.types = now
	return nil
}

// advance holds a command against the types that its keys have when it runs, and notes what it
// makes of them.
func advance(now map[string]string, c redis.Cmder) error {
	args := c.Args()
	if len(args) < 2 {
		return nil
	}
	name := slot.Text(args[1])
	wanted, typed := typesOf[c.Name()]
	switch got, known := now[name]; {
	case typed && known && got != "none" && got != wanted:
		return fmt.Errorf("key %q holds a %s, %s needs a %s", name, got, c.Name(), wanted)
	case typed:
		now[name] = wanted
	case slices.Contains([]string{"set", "setex", "psetex", "setnx"}, c.Name()):
		now[name] = "string"
	case c.Name() == "del", c.Name() == "unlink":
		for _, a := range args[1:] {
			now[slot.Text(a)] = "none"
		}
	}
	return nil
}
