package outbox

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// StateKey is a key for the application's state that lives in the hash slot of a shard, so that it
// can be changed in one transaction with an append to it: "{orders:3}:name". The shard is part of
// the key: after a change of the number of shards, what depends on it has to be moved.
func StateKey(outbox string, shard int, name string) string {
	return SlotTag(outbox, shard) + ":" + name
}

// SlotError says that a key is in another hash slot than the shard's stream, so that Redis Cluster
// cannot change both in one transaction. Nothing was sent. Build the key with Tx.StateKey or
// StateKey.
type SlotError struct {
	Command    string // the command that uses it, "watch" for a watched key
	Key        string
	Slot       int
	Stream     string
	StreamSlot int
}

func (e *SlotError) Error() string {
	return fmt.Sprintf(
		"%s: key %q is in hash slot %d, the stream %q in %d: one transaction needs one slot; put the "+
			"tag %s into the key",
		e.Command, e.Key, e.Slot, e.Stream, e.StreamSlot, e.Stream[strings.IndexByte(e.Stream, '{'):])
}

// checkSlots finds the first key of the commands or of watch that is not in the stream's slot.
func (w *Writer) checkSlots(ctx context.Context, stream string, cmds []redis.Cmder,
	watch []string,
) error {
	if !w.sameSlot {
		return nil
	}
	want := slotOf(stream)
	for _, key := range watch {
		if slot := slotOf(key); slot != want {
			return &SlotError{Command: "watch", Key: key, Slot: slot, Stream: stream, StreamSlot: want}
		}
	}
	if len(cmds) == 0 {
		return nil
	}
	infos := w.commandInfos(ctx)
	for _, c := range cmds {
		for _, key := range commandKeys(c.Args(), infos[c.Name()]) {
			if slot := slotOf(key); slot != want {
				return &SlotError{Command: c.Name(), Key: key, Slot: slot, Stream: stream, StreamSlot: want}
			}
		}
	}
	return nil
}

// commandInfos is the server's COMMAND table, asked for once. It is empty if the server does not
// answer (an ACL, a proxy). The first argument of each command counts as its key then.
func (w *Writer) commandInfos(ctx context.Context) map[string]*redis.CommandInfo {
	w.commandsOnce.Lock()
	defer w.commandsOnce.Unlock()
	if w.commands == nil {
		infos, err := w.client.Command(ctx).Result()
		if err != nil {
			if !isReply(err) {
				return nil // a broken connection says nothing: ask again next time
			}
			infos = map[string]*redis.CommandInfo{}
		}
		w.commands = infos
	}
	return w.commands
}

// commandKeys are the keys of a command. Commands whose arguments say how many keys follow are
// known here, since the server's table cannot describe them. For the others the table decides.
func commandKeys(args []any, info *redis.CommandInfo) []string {
	if len(args) < 2 {
		return nil
	}
	name := strings.ToLower(argString(args[0]))
	switch name {
	case "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro", "blmpop", "bzmpop":
		return countedKeys(args, 2)
	case "zunionstore", "zinterstore", "zdiffstore":
		return append(countedKeys(args, 2), argString(args[1]))
	case "zunion", "zinter", "zdiff", "sintercard", "zintercard", "lmpop", "zmpop":
		return countedKeys(args, 1)
	case "xread", "xreadgroup":
		return streamKeys(args)
	case "sort", "georadius", "georadiusbymember":
		return append(storeKeys(args), argString(args[1]))
	}
	if info == nil {
		return []string{argString(args[1])}
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
		keys = append(keys, argString(args[i]))
	}
	return keys
}

// countedKeys reads the number of keys at args[at]; the keys follow it.
func countedKeys(args []any, at int) []string {
	if at >= len(args) {
		return nil
	}
	n, err := strconv.Atoi(argString(args[at]))
	if err != nil || n < 0 {
		return nil
	}
	var keys []string
	for i := at + 1; i <= at+n && i < len(args); i++ {
		keys = append(keys, argString(args[i]))
	}
	return keys
}

// streamKeys are the first half of what follows STREAMS.
func streamKeys(args []any) []string {
	for i, a := range args {
		if strings.EqualFold(argString(a), "streams") {
			var keys []string
			for _, k := range args[i+1 : i+1+(len(args)-i-1)/2] {
				keys = append(keys, argString(k))
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
		if a := argString(args[i]); strings.EqualFold(a, "store") || strings.EqualFold(a, "storedist") {
			keys = append(keys, argString(args[i+1]))
		}
	}
	return keys
}

func argString(arg any) string {
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

// slotOf is the hash slot of a key, as the Redis Cluster specification defines it: CRC16 of the
// part between the first '{' and the next '}', or of the whole key if there is no such part or it
// is empty.
func slotOf(key string) int {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if end := strings.IndexByte(key[open+1:], '}'); end > 0 {
			key = key[open+1 : open+1+end]
		}
	}
	return int(crc16(key)) % slots
}

// crc16 is CRC-16/XMODEM: polynomial 0x1021, initial value 0.
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^s[i]]
	}
	return crc
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		table[i] = crc
	}
	return table
}()
