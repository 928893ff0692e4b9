package inbox

import (
	"fmt"

	"github.com/redis/go-redis/v9"
)

// typesOf is which type of their first key commands need. Commands that take any type, or replace the key, are not in it.
var typesOf = func() map[string]string {
	types := map[string]string{}
	for kind, commands := range map[string][]string{
		"string": {
			"append", "incr", "incrby", "incrbyfloat", "decr", "decrby", "getset", "getdel", "getex", "setrange", "setbit", "bitfield",
			"pfadd", "get", "strlen",
		},
		"hash":   {"hset", "hsetnx", "hmset", "hdel", "hincrby", "hincrbyfloat", "hexpire", "hpexpire", "hget", "hgetall", "hmget"},
		"list":   {"lpush", "rpush", "lpushx", "rpushx", "lpop", "rpop", "lset", "lrem", "ltrim", "linsert", "lmove", "rpoplpush", "lrange"},
		"set":    {"sadd", "srem", "spop", "smove", "smembers", "sismember"},
		"zset":   {"zadd", "zrem", "zincrby", "zremrangebyrank", "zremrangebyscore", "zremrangebylex", "zpopmin", "zpopmax", "geoadd", "zrange"},
		"stream": {"xadd", "xtrim", "xdel", "xack", "xgroup", "xsetid", "xclaim", "xautoclaim"},
	} {
		for _, c := range commands {
			types[c] = kind
		}
	}
	return types
}()

// checkTypes watches the keys of cmds and asks for their types. The error is about the record, and nothing was sent of
// it, unless it is the server's.
func (t *transaction) checkTypes(offset int64, cmds []redis.Cmder) error {
	var names, wanted []string
	for _, c := range cmds {
		args := c.Args()
		if kind, ok := typesOf[c.Name()]; ok && len(args) > 1 {
			names, wanted = append(names, text(args[1])), append(wanted, kind)
		}
	}
	if len(names) == 0 {
		return nil
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
	for i, name := range names {
		if got := t.typeOf(name, found[i].Val()); got != "none" && got != wanted[i] {
			return &failure{offset: offset, reason: WrongType, final: true, err: fmt.Errorf("key %q holds a %s, its command needs a %s", name, got, wanted[i])}
		}
	}
	t.willBe(cmds)
	return nil
}

// typeOf is the type that a key will have when the commands that are queued have run.
func (t *transaction) typeOf(name, now string) string {
	if queued, ok := t.types[name]; ok {
		return queued
	}
	return now
}

// willBe notes what the commands make of their keys. What is not known is forgotten, and the server's word counts.
func (t *transaction) willBe(cmds []redis.Cmder) {
	if t.types == nil {
		t.types = map[string]string{}
	}
	for _, c := range cmds {
		args := c.Args()
		if len(args) < 2 {
			continue
		}
		switch name := text(args[1]); c.Name() {
		case "set", "setex", "psetex", "setnx":
			t.types[name] = "string"
		case "del", "unlink":
			for _, a := range args[1:] {
				t.types[text(a)] = "none"
			}
		default:
			if kind, ok := typesOf[c.Name()]; ok {
				t.types[name] = kind
			}
		}
	}
}

// forgetTypes begins anew: what was queued has been committed.
func (t *transaction) forgetTypes() { clear(t.types) }
