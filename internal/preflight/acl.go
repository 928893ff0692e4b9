package preflight

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// command is one command of a relay, with arguments of the right form.
type command struct {
	args []any
	// read: carrying it out changes nothing, so it can be tried where ACL DRYRUN is not allowed.
	read bool
}

// relayCommands are all commands of a relay on one shard, and on the outbox's own hashes.
func relayCommands(outboxName string, shard int, delivery string) []command {
	stream, group := outbox.StreamKey(outboxName, shard), names.ConsumerGroup
	list := []command{
		{[]any{"HMGET", names.LayoutKey(outboxName), "version"}, true},
		{[]any{"HGETALL", names.ControlKey(outboxName)}, true},
		{[]any{"HSET", names.StatusKey(outboxName), "0", "{}"}, false},
		{[]any{"XRANGE", stream, "-", "+", "COUNT", "1"}, true},
		{[]any{"XREAD", "COUNT", "1", "STREAMS", stream, "0"}, true},
		{[]any{"XINFO", "STREAM", stream}, true},
		{[]any{"XINFO", "GROUPS", stream}, true},
		{[]any{"XPENDING", stream, group}, true},
		{[]any{"XGROUP", "CREATE", stream, group, "0"}, false},
		{[]any{"XGROUP", "SETID", stream, group, "0"}, false},
		{[]any{"XACK", stream, group, "0-1"}, false},
		{[]any{"XTRIM", stream, "MINID", "~", "0"}, false},
	}
	if delivery == "at-least-once" {
		list = append(list,
			command{
				[]any{"XREADGROUP", "GROUP", group, "check", "COUNT", "1", "STREAMS", stream, ">"},
				false,
			},
			command{[]any{"XAUTOCLAIM", stream, group, "check", "0", "0", "COUNT", "1"}, false},
			command{[]any{"XINFO", "CONSUMERS", stream, group}, true},
			command{[]any{"XGROUP", "DELCONSUMER", stream, group, "check"}, false},
		)
	}
	return list
}

// checkRedisPermissions asks Redis whether this user may do what a relay does. ACL DRYRUN answers
// for every command without carrying it out; a least-privilege user may not ask it, and then the
// commands that only read are tried.
func (c *checker) checkRedisPermissions(ctx context.Context) {
	l := c.area("redis")
	ctx, cancel := bounded(ctx)
	defer cancel()
	user, err := c.redis.Do(ctx, "ACL", "WHOAMI").Text()
	if err != nil {
		user = ""
	}
	commands := relayCommands(c.cfg.Outbox.Name, 0, c.cfg.Relay.Delivery)
	var denied []string
	if user != "" {
		denied, err = c.dryRun(ctx, user, commands)
	}
	if user == "" || err != nil {
		denied = c.tryReads(ctx, commands)
		if len(denied) == 0 {
			l.warn("permissions",
				"run 'sluice check' once as a user who may ACL DRYRUN, or watch the relay's first minute",
				"this user may read what a relay reads; whether it may write cannot be asked (ACL WHOAMI, "+
					"ACL DRYRUN)")
			return
		}
	}
	if len(denied) > 0 {
		l.fail("permissions",
			"extend the ACL of the user by these commands and the keys ~sluice:{"+c.cfg.Outbox.Name+"*",
			"user %s may not: %s", dashIfEmpty(user), strings.Join(denied, ", "))
		return
	}
	l.ok("permissions", "user %s may do all that a relay does", user)
}

// dryRun gives the commands that the user may not run; the error says that it could not be asked.
func (c *checker) dryRun(ctx context.Context, user string,
	commands []command,
) (denied []string, err error) {
	for _, cmd := range commands {
		answer, err := c.redis.Do(ctx, append([]any{"ACL", "DRYRUN", user}, cmd.args...)...).Text()
		if err != nil {
			return nil, err
		}
		if answer != "OK" {
			denied = append(denied, name(cmd))
		}
	}
	return denied, nil
}

func (c *checker) tryReads(ctx context.Context, commands []command) (denied []string) {
	for _, cmd := range commands {
		if cmd.read && redis.HasErrorPrefix(c.redis.Do(ctx, cmd.args...).Err(), "NOPERM") {
			denied = append(denied, name(cmd))
		}
	}
	return denied
}

// name is the command, with its subcommand where it has one.
func name(cmd command) string {
	first := cmd.args[0].(string)
	switch first {
	case "XINFO", "XGROUP":
		return first + " " + cmd.args[1].(string)
	}
	return first
}

func dashIfEmpty(s string) string {
	if s == "" {
		return "(unknown)"
	}
	return s
}
