package outbox

// Shard is the shard of a key among shards: Kafka's murmur2 of the key, made positive, modulo
// shards. It is the same function that Kafka's Java producer, and Sluice's relay, use to find a
// key's partition, so that a topic whose partition count is a multiple of the shard count has every
// partition written by one shard only. It panics if shards < 1.
func Shard(key string, shards int) int { return positive(murmur2(key)) % shards }

// Partition is the partition of a key among n, as Kafka's default partitioner chooses it for a
// record with a key. It panics if n < 1.
func Partition(key []byte, n int) int { return positive(murmur2(key)) % n }

// positive is Utils.toPositive of Kafka's Java client: it drops the sign, it does not negate.
func positive(h uint32) int { return int(h & 0x7fffffff) }

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2: MurmurHash2, 32 bits, little endian, with
// Kafka's seed.
func murmur2[T string | []byte](data T) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
		r           = 24
	)
	n := len(data)
	h := seed ^ uint32(n)
	i := 0
	for ; i+4 <= n; i += 4 {
		k := uint32(data[i]) | uint32(data[i+1])<<8 | uint32(data[i+2])<<16 | uint32(data[i+3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch n - i {
	case 3:
		h ^= uint32(data[i+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[i+1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[i])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
