package consistency

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers that join a record to its entry, and mark one that a repair has sent again.
const (
	headerEntry  = "sluice-entry"
	headerRepair = "sluice-repair"
)

// hasher makes hashes of images. It belongs to one goroutine.
type hasher struct {
	key [16]byte
	buf []byte
}

func (h *hasher) sum(im *image) hash128 {
	b := append(h.buf[:0], h.key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(im.shard))
	b = binary.BigEndian.AppendUint64(b, im.id.MS)
	b = binary.BigEndian.AppendUint64(b, im.id.Seq)
	b = binary.BigEndian.AppendUint32(b, uint32(im.partition))
	b = appendPart(b, im.topic)
	b = appendPart(b, im.key)
	if im.null {
		b = append(b, 0)
	} else {
		b = append(b, 1)
	}
	b = appendPart(b, im.value)
	for _, x := range im.headers {
		b = appendPart(appendPart(b, x.name), x.value)
	}
	h.buf = b
	if cap(h.buf) > 1<<20 {
		h.buf = nil
	}
	s := sha256.Sum256(b)
	return hash128{binary.BigEndian.Uint64(s[:8]), binary.BigEndian.Uint64(s[8:16])}
}

// appendPart writes the length before the bytes, so that no two images have one encoding.
func appendPart[T string | []byte](b []byte, part T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// observe fills im from a record whose header names the entry. repaired: a repair has sent it.
func (s *shape) observe(im *image, r *kgo.Record, shard int, id EntryID) (repaired bool) {
	im.shard, im.id, im.topic, im.partition = shard, id, r.Topic, r.Partition
	im.key, im.value, im.null = r.Key, r.Value, r.Value == nil
	im.headers = im.headers[:0]
	for _, x := range r.Headers {
		switch x.Key {
		case headerEntry:
		case headerRepair:
			repaired = true
		default:
			im.headers = append(im.headers, header{x.Key, x.Value})
		}
	}
	if s.format == CloudEventsStructured && !im.null {
		im.value = readStructured(r.Value)
	}
	return repaired
}

// reference is which entry a record says it is of.
type reference struct {
	shard int
	id    EntryID
}

// entryOf reads the header sluice-entry. ours is false for a record of another outbox or of another
// producer; err says that it is of this outbox and names no entry.
func entryOf(r *kgo.Record, prefix string) (ref reference, ours bool, err error) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == headerEntry {
			return parseReference(r.Headers[i].Value, prefix)
		}
	}
	return ref, false, nil
}

// deadEntryOf reads the key of a dead-letter record: the reference, with #<n> after it for the
// further pieces of a large entry, which are not ours to count.
func deadEntryOf(r *kgo.Record, prefix string) (ref reference, ours bool, err error) {
	if bytes.IndexByte(r.Key, '#') >= 0 {
		return ref, false, nil
	}
	return parseReference(r.Key, prefix)
}

// parseReference reads <outbox>/<shard>/<entry ID>; prefix is "<outbox>/".
func parseReference(b []byte, prefix string) (ref reference, ours bool, err error) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return ref, false, nil
	}
	rest := b[len(prefix):]
	slash := bytes.IndexByte(rest, '/')
	var shard uint64
	if slash < 0 || !parseUint(rest[:slash], &shard) || shard > 1<<20 {
		return ref, true, fmt.Errorf("%s is %q, want <outbox>/<shard>/<entry ID>", headerEntry, clip(b))
	}
	id, err := parseEntryID(rest[slash+1:])
	return reference{int(shard), id}, true, err
}

// trait is one part of an image, by its hash: what a person needs to see where two images differ,
// without the bytes, which are nobody's business.
type trait struct {
	name string
	sum  [8]byte
	size int
}

func (im *image) traits() []trait {
	of := func(name string, b []byte) trait {
		s := sha256.Sum256(b)
		return trait{name, [8]byte(s[:8]), len(b)}
	}
	traits := make([]trait, 0, 2+len(im.headers))
	traits = append(traits, of("key", im.key))
	if im.null {
		traits = append(traits, trait{name: "payload", size: -1})
	} else {
		traits = append(traits, of("payload", im.value))
	}
	for _, h := range im.headers {
		traits = append(traits, of("header "+strconv.Quote(clip([]byte(h.name))), h.value))
	}
	return traits
}

func (t trait) String() string {
	if t.size < 0 {
		return "null"
	}
	return fmt.Sprintf("%x (%d bytes)", t.sum, t.size)
}

// difference says what of a record is not as the entry has it.
func difference(want, got []trait, wantPartition, gotPartition int32) string {
	var out []string
	if wantPartition != gotPartition {
		out = append(out, fmt.Sprintf("partition is %d, its key belongs to %d", gotPartition,
			wantPartition))
	}
	found := make(map[string]trait, len(got))
	for _, t := range got {
		if _, twice := found[t.name]; twice {
			out = append(out, t.name+" occurs twice in the record")
		}
		found[t.name] = t
	}
	for _, w := range want {
		g, ok := found[w.name]
		delete(found, w.name)
		switch {
		case !ok:
			out = append(out, w.name+" is missing in the record")
		case g != w:
			out = append(out, fmt.Sprintf("%s: entry %s, record %s", w.name, w, g))
		}
	}
	for _, g := range got {
		if _, extra := found[g.name]; extra {
			out = append(out, g.name+" is not in the entry")
		}
	}
	if len(out) == 0 {
		out = append(out, "the headers stand in another order")
	}
	return strings.Join(out, "; ")
}
