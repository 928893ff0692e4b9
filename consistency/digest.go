package consistency

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
)

// hash128 is the hash of one event as it should be, or as it is, in Kafka: the first 128 bits of
// SHA-256 over a random key and everything that an audit compares.
type hash128 struct{ hi, lo uint64 }

// Digest is the digest of a set of events: the sum of their hashes modulo 2^128. The order in which
// they are added does not matter, and an event that is added twice does not cancel itself, as it
// would with exclusive or.
//
// Two different sets have one digest with probability 2^-128, whatever the sets are, as long as
// nobody chose the events with the key in hand. The key is random, and made anew by each run.
type Digest struct{ hi, lo uint64 }

func (d *Digest) add(h hash128) {
	lo, carry := bits.Add64(d.lo, h.lo, 0)
	d.lo = lo
	d.hi, _ = bits.Add64(d.hi, h.hi, carry)
}

func (d Digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.hi)
	binary.BigEndian.PutUint64(b[8:], d.lo)
	return hex.EncodeToString(b[:])
}

// MarshalText makes Digest 32 hexadecimal digits in JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != 16 {
		return fmt.Errorf("digest %q: want 32 hexadecimal digits", clip(text))
	}
	d.hi, d.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	return nil
}

func (d Digest) plus(other Digest) Digest {
	d.add(hash128(other))
	return d
}

// digest joins the two sides of a round: every tile gets the records that the partitions have of
// it.
func digest(entries []entriesRead, records []recordsRead) *collected {
	c := &collected{
		shards:     make([]shardRead, len(entries)),
		partitions: make([]partitionRead, len(records)),
	}
	for i := range entries {
		c.shards[i].entriesRead = entries[i]
		c.shards[i].tiles = slices.Clone(entries[i].tiles)
	}
	for i := range records {
		p := records[i].partitionRead
		p.shards = map[int]seen{}
		for shard, r := range records[i].byShard {
			p.shards[shard] = r.seen
			c.shards[shard].join(i, r)
		}
		c.partitions[i] = p
		c.nameless = append(c.nameless, records[i].nameless...)
	}
	return c
}

// join adds the records that a partition has of the shard.
func (s *shardRead) join(partition int, r *shardRecords) {
	s.reached = maxID(s.reached, r.max)
	s.repaired += r.repaired
	s.late = append(s.late, r.late...)
	s.disordered = append(s.disordered, r.disordered...)
	for i := range r.tiles {
		if n := &r.tiles[i]; n.records > 0 {
			t := &s.tiles[i]
			t.records += n.records
			t.got = t.got.plus(n.got)
			t.odd = t.odd || n.odd
			t.spans = append(t.spans, partitionSpans{partition, n.spans})
		}
	}
}
