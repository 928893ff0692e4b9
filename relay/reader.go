package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/outbox"
)

const (
	readTarget = 512 << 10 // bytes a read aims at
	// bytes a reply may have; a larger one is asked for again with fewer entries
	readLimit   = 8 << 20
	readEntries = 2000                   // most entries a read
	readBlock   = 250 * time.Millisecond // also how long a stop may wait for a blocked read
)

// anchor is the entry at the position, where reading begins (invariant 6).
type anchor struct {
	id outbox.EntryID
	// fingerprint 0: there is no entry to stand on, reading begins after id.
	fingerprint uint64
}

// streamReader reads a shard's stream from an anchor on with XRANGE, which writes nothing in Redis.
type streamReader struct {
	client redis.UniversalClient
	shard  int
	key    string
	// count and limit adapt to the size of the entries. least is above count while a group did not fit
	// into one read; whole is false once the group is too large for any read.
	count int
	limit int
	least int
	whole bool
	// most and target bound what a read aims at, entries and bytes.
	most   int
	target int
	// scratch holds one reply until the next read; keep makes a reply outlive that. kept is the buffer
	// that keep gave away, nil if none.
	scratch []byte
	kept    []byte
	buf     []rawEntry
	// waiter waits for the entries of many quiet streams at once; nil: each waits for itself.
	waiter *waiter
	// activeAt is when the stream last had entries to read.
	activeAt time.Time
}

func newStreamReader(client redis.UniversalClient, shard int, key string) *streamReader {
	return &streamReader{
		client: client, shard: shard, key: key, count: 64, limit: readLimit,
		whole: true, most: readEntries, target: readTarget, activeAt: time.Now(),
	}
}

// bounded makes reads no larger than a transaction may be.
func (r *streamReader) bounded(cfg *Config) *streamReader {
	r.most, r.target = min(r.most, cfg.MaxEntries), min(r.target, cfg.MaxBytes)
	r.count = min(r.count, r.most)
	return r
}

// read returns the entries after the anchor, and whether those were all. Every read starts at the
// anchor, inclusive: a reader that started after it would skip, without noticing, the entries to
// which a replica promoted too early has given IDs that were used before. The returned slice is
// valid until the next read.
func (r *streamReader) read(ctx context.Context,
	from anchor,
) (entries []rawEntry, atEnd bool, err error) {
	start, count := from.id.String(), max(r.count, r.least)
	if from.fingerprint == 0 {
		start = "(" + start
	} else {
		count++
	}
	reply, err := r.do(ctx, 1, "XRANGE", r.key, start, "+", "COUNT", count)
	if errors.Is(err, rawreply.ErrTooLarge) {
		r.fewer()
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	p := parser{b: r.keep(reply)}
	if r.buf, err = p.entries(r.buf[:0]); err != nil {
		return nil, false, fmt.Errorf("%s: %w", r.key, err)
	}
	entries = r.buf
	atEnd = len(entries) < count
	r.adapt(len(reply), len(entries))
	if from.fingerprint == 0 {
		return entries, atEnd, nil
	}
	if halt := checkAnchor(r.shard, from, entries); halt != nil {
		return nil, false, halt
	}
	return entries[1:], atEnd, nil
}

// checkAnchor is invariant 6: the first entry read must be the one at the position.
func checkAnchor(shard int, from anchor, entries []rawEntry) *HaltError {
	if len(entries) > 0 && entries[0].id == from.id &&
		fingerprint(entries[0].fields) == from.fingerprint {
		return nil
	}
	halt := &HaltError{
		Shard: shard, Entry: from.id,
		Reason: "the stream does not hold the last delivered entry: it was rolled back, replaced or " +
			"trimmed by hand; compare both sides, then run sluice resume",
		Expected: fmt.Sprintf("entry %s with fingerprint %s", from.id,
			formatFingerprint(from.fingerprint)),
		Found: "no entry at or after it",
	}
	if len(entries) > 0 {
		halt.Found = fmt.Sprintf("entry %s with fingerprint %s", entries[0].id,
			formatFingerprint(fingerprint(entries[0].fields)))
	}
	return halt
}

// do sends a command whose key is args[keyPos] and returns its raw reply, which is not larger than
// r.limit and valid until the next. An error that Redis answered is a [rawreply.Error].
func (r *streamReader) do(ctx context.Context, keyPos int8, args ...any) ([]byte, error) {
	reply, err := r.once(ctx, keyPos, args)
	if hasPrefix(err, "MOVED") || hasPrefix(err, "ASK") {
		// go-redis follows redirections only of commands whose replies it parses: this one updates its
		// map of slots.
		_ = r.client.Exists(ctx, r.key).Err()
		reply, err = r.once(ctx, keyPos, args)
	}
	switch {
	case err == nil, errors.Is(err, rawreply.ErrTooLarge):
		return reply, err
	case isWrongType(err):
		return nil, notAStream(r.key)
	}
	return nil, fmt.Errorf("redis: %v %s: %w", args[0], r.key, err)
}

func (r *streamReader) once(ctx context.Context, keyPos int8, args []any) ([]byte, error) {
	if cap(r.scratch) > readLimit {
		r.scratch = nil // one huge entry is no reason to hold so much memory
	}
	if r.scratch == nil {
		r.scratch = spareReply()
	}
	reply, err := rawreply.Do(ctx, r.client, r.scratch, r.limit, keyPos, args...)
	if reply != nil {
		r.scratch = reply
	}
	return reply, err
}

func notAStream(key string) *HaltError {
	return &HaltError{Reason: key +
		" is not a stream: somebody replaced the key; restore the stream, then run sluice resume"}
}

// keep returns the reply in memory that no later read overwrites: the buffer itself if it is well
// filled, else a copy.
func (r *streamReader) keep(reply []byte) []byte {
	if r.kept = nil; len(reply) < cap(reply)/2 {
		return bytes.Clone(reply)
	}
	r.scratch, r.kept = nil, reply
	return reply
}

// first returns the first entry at or after id, nil if there is none.
func (r *streamReader) first(ctx context.Context, id outbox.EntryID) (*rawEntry, error) {
	r.count = 1
	for {
		entries, atEnd, err := r.read(ctx, anchor{id: id.Prev()})
		r.count = 1
		if err != nil || len(entries) > 0 {
			if len(entries) > 0 {
				return &entries[0], err
			}
			return nil, err
		}
		if atEnd {
			return nil, nil
		}
	}
}

// wait blocks until there is an entry after from, for readBlock at most. It is only a signal: the
// entry is read with its anchor afterwards.
func (r *streamReader) wait(ctx context.Context, from outbox.EntryID) error {
	if r.waiter != nil {
		return r.waiter.wait(ctx, r, from)
	}
	_, err := r.block(ctx, from)
	return err
}

// block waits on a connection of its own. ready: there is an entry.
func (r *streamReader) block(ctx context.Context, from outbox.EntryID) (ready bool, err error) {
	saved := r.limit
	r.limit = 1 << 30
	reply, err := r.do(ctx, 6, "XREAD", "COUNT", 1, "BLOCK", readBlock.Milliseconds(), "STREAMS",
		r.key, from.String())
	r.limit = saved
	return len(reply) > 5, err // a null has three or five bytes
}

// fewer makes the next read ask for fewer entries, or raises its limit if one entry was asked for.
func (r *streamReader) fewer() {
	switch {
	case r.least > 0:
		r.least, r.whole = 0, false
	case r.count > 1:
		r.count = max(1, r.count/8)
	default:
		r.limit *= 2 // the entry alone, with its anchor, is larger
	}
}

// adapt aims the next read at readTarget bytes. It at most doubles the count, so that one read of
// suddenly larger entries stays small.
func (r *streamReader) adapt(bytes, entries int) {
	if entries == 0 {
		return
	}
	r.limit = max(readLimit, 2*bytes)
	r.count = min(max(1, r.target/max(1, bytes/entries)), 2*r.count, r.most)
}

// run reads chunk after chunk and hands each to out, until ctx ends or reading or out fails.
// Reading, decoding and formatting go on while a transaction commits. caughtUp is called if the
// first read finds no entries: nothing is sent then, but the anchor is known to hold.
func (r *streamReader) run(ctx context.Context, from anchor, p *preparer, maxBytes int,
	caughtUp func(), out func(context.Context, *chunk) error,
) error {
	if r.waiter != nil {
		defer r.waiter.leave(r.key)
	}
	for first := true; ; first = false {
		raws, atEnd, err := r.read(ctx, from)
		if err != nil {
			return err
		}
		if len(raws) > 0 {
			r.activeAt = time.Now()
		}
		if first && atEnd && len(raws) == 0 {
			caughtUp()
		}
		whole := wholeGroups(raws, atEnd)
		if len(whole) == 0 && len(raws) > 0 && !r.extend(raws, maxBytes) {
			whole = raws // a group larger than a transaction may be: it has to be cut
		}
		if len(whole) > 0 {
			r.least, r.whole = 0, true
		}
		if len(whole) == 0 {
			if atEnd {
				if err := r.wait(ctx, from.id); err != nil {
					return err
				}
			}
			continue
		}
		c, err := p.chunk(ctx, whole)
		if err != nil {
			return err
		}
		c.reply, r.kept = r.kept, nil
		c.atEnd = atEnd && len(whole) == len(raws)
		if len(c.ids) > 0 {
			from = anchor{c.last(), c.fingerprint}
		}
		halt := c.halt // a chunk that was sent is not looked at any more
		if len(c.ids) > 0 {
			if err := out(ctx, c); err != nil {
				return err
			}
		}
		if halt != nil {
			return halt
		}
	}
}

// wholeGroups returns the entries without the part of a last group whose end was not read. At the
// end of the stream everything is whole: MULTI/EXEC is atomic.
func wholeGroups(entries []rawEntry, atEnd bool) []rawEntry {
	if atEnd {
		return entries
	}
	for len(entries) > 0 && peekMore(entries[len(entries)-1].fields) {
		entries = entries[:len(entries)-1]
	}
	return entries
}

// extend makes the next read larger for a group that did not fit into this one, if a transaction
// may hold that much.
func (r *streamReader) extend(entries []rawEntry, maxBytes int) bool {
	size := 0
	for _, e := range entries {
		size += len(e.fields)
	}
	if !r.whole || size >= maxBytes {
		return false
	}
	r.least = 2 * len(entries)
	r.limit = max(r.limit, 3*maxBytes) // twice as much, and the anchor
	return true
}
