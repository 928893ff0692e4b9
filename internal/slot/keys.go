package slot

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Table is a server's COMMAND table, asked for once.
type Table struct {
	Client redis.UniversalClient

	mu       sync.Mutex
	commands map[string]*redis.CommandInfo
}

// Commands is the table by the commands' names. It is empty if the server does not answer (an ACL,
// a proxy). The first argument of each command counts as its key then.
func (t *Table) Commands(ctx context.Context) map[string]*redis.CommandInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.commands == nil {
		infos, err := t.Client.Command(ctx).Result()
		if err != nil {
			var reply redis.Error
			if !errors.As(err, &reply) {
				return nil // a broken connection says nothing: ask again next time
			}
			infos = map[string]*redis.CommandInfo{}
		}
		t.commands = infos
	}
	return t.commands
}

// Keys are the keys of a command. Commands whose arguments say how many keys follow are
// known here, since the server's table cannot describe them. For the others the table decides.
func Keys(args []any, info *redis.CommandInfo) []string {
	if len(args) < 2 {
		return nil
	}
	name := strings.ToLower(Text(args[0]))
	switch name {
	case "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro", "blmpop", "bzmpop":
		return countedKeys(args, 2)
	case "zunionstore", "zinterstore", "zdiffstore":
		return append(countedKeys(args, 2), Text(args[1]))
	case "zunion", "zinter", "zdiff", "sintercard", "zintercard", "lmpop", "zmpop":
		return countedKeys(args, 1)
	case "xread", "xreadgroup":
		return streamKeys(args)
	case "sort", "georadius", "georadiusbymember":
		return append(storeKeys(args), Text(args[1]))
	}
	if info == nil {
		return []string{Text(args[1])}
	}
	first, last, step := int(info.FirstKeyPos), int(info.LastKeyPos), max(1, int(info.StepCount))
	if first < 1 {
		return nil
	}
	if last < 0 {
		last += len(args)
	}
	var keys []string
	for i := first; i <= last && i < len(args); i += step {
		keys = append(keys, Text(args[i]))
	}
	return keys
}

// countedKeys reads the number of keys at args[at]; the keys follow it.
func countedKeys(args []any, at int) []string {
	if at >= len(args) {
		return nil
	}
	n, err := strconv.Atoi(Text(args[at]))
	if err != nil || n < 0 {
		return nil
	}
	var keys []string
	for i := at + 1; i <= at+n && i < len(args); i++ {
		keys = append(keys, Text(args[i]))
	}
	return keys
}

// streamKeys are the first half of what follows STREAMS.
func streamKeys(args []any) []string {
	for i, a := range args {
		if strings.EqualFold(Text(a), "streams") {
			var keys []string
			for _, k := range args[i+1 : i+1+(len(args)-i-1)/2] {
				keys = append(keys, Text(k))
			}
			return keys
		}
	}
	return nil
}

// storeKeys are the keys that follow STORE and STOREDIST.
func storeKeys(args []any) []string {
	var keys []string
	for i := 2; i+1 < len(args); i++ {
		if a := Text(args[i]); strings.EqualFold(a, "store") || strings.EqualFold(a, "storedist") {
			keys = append(keys, Text(args[i+1]))
		}
	}
	return keys
}

// Text is an argument of a command as it is sent.
func Text(arg any) string {
	switch a := arg.(type) {
	case string:
		return a
	case []byte:
		return string(a)
	case int:
		return strconv.Itoa(a)
	}
	return fmt.Sprint(arg)
}
