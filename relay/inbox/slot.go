package inbox

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// slots checks that commands stay in the hash slot of their partition.
type slots struct {
	client   redis.UniversalClient
	required bool

	mu       sync.Mutex
	commands map[string]*redis.CommandInfo
}

// check finds the first key outside the slot of tag; the error is a *SlotError.
func (s *slots) check(ctx context.Context, tag string, cmds []redis.Cmder) error {
	if !s.required || len(cmds) == 0 {
		return nil
	}
	infos := s.infos(ctx)
	for _, c := range cmds {
		for _, key := range commandKeys(c.Args(), infos[c.Name()]) {
			if err := checkKey(tag, c.Name(), key); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkKeys is check for keys that are watched.
func (s *slots) checkKeys(tag, command string, watched []string) error {
	if !s.required {
		return nil
	}
	for _, key := range watched {
		if err := checkKey(tag, command, key); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(tag, command, key string) error {
	if strings.HasPrefix(key, tag) {
		return nil // by far the most
	}
	if slot, want := slotOf(key), slotOf(tag); slot != want {
		return &SlotError{Command: command, Key: key, Slot: slot, Tag: tag, TagSlot: want}
	}
	return nil
}

// infos is the server's COMMAND table, asked for once. A server that does not tell leaves it empty,
// and the first argument of each command counts as its key.
func (s *slots) infos(ctx context.Context) map[string]*redis.CommandInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commands == nil {
		infos, err := s.client.Command(ctx).Result()
		if err != nil {
			if !isReply(err) {
				return nil // a broken connection says nothing: ask again next time
			}
			infos = map[string]*redis.CommandInfo{}
		}
		s.commands = infos
	}
	return s.commands
}

// commandKeys are the keys of a command. Those that say in their arguments how many keys follow are
// known here, as the server's table cannot describe them; for the others the table decides.
func commandKeys(args []any, info *redis.CommandInfo) []string {
	if len(args) < 2 {
		return nil
	}
	switch strings.ToLower(text(args[0])) {
	case "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro":
		return counted(args, 2)
	case "zunionstore", "zinterstore", "zdiffstore":
		return append(counted(args, 2), text(args[1]))
	case "zunion", "zinter", "zdiff", "sintercard", "zintercard", "lmpop", "zmpop":
		return counted(args, 1)
	case "sort", "georadius", "georadiusbymember":
		return append(stored(args), text(args[1]))
	}
	if info == nil {
		return []string{text(args[1])}
	}
	first, last, step := int(info.FirstKeyPos), int(info.LastKeyPos), max(1, int(info.StepCount))
	if first < 1 {
		return nil
	}
	if last < 0 {
		last += len(args)
	}
	var found []string
	for i := first; i <= last && i < len(args); i += step {
		found = append(found, text(args[i]))
	}
	return found
}

// counted reads the number of keys at args[at]; the keys follow it.
func counted(args []any, at int) []string {
	if at >= len(args) {
		return nil
	}
	n, err := strconv.Atoi(text(args[at]))
	if err != nil || n < 0 {
		return nil
	}
	var found []string
	for _, a := range args[at+1 : min(len(args), at+1+n)] {
		found = append(found, text(a))
	}
	return found
}

// stored are the keys behind STORE and STOREDIST.
func stored(args []any) []string {
	var found []string
	for i := 2; i+1 < len(args); i++ {
		if a := text(args[i]); strings.EqualFold(a, "store") || strings.EqualFold(a, "storedist") {
			found = append(found, text(args[i+1]))
		}
	}
	return found
}

func text(arg any) string {
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

// slotOf is the hash slot of a key, as the Redis Cluster specification defines it: CRC16 (XMODEM)
// of the part between the first '{' and the first '}' behind it, or of the whole key if there is no
// such part or it is empty.
func slotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if end := strings.IndexByte(key[open+1:], '}'); end > 0 {
			key = key[open+1 : open+1+end]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % 16384
}
