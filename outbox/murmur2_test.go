package outbox

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// TestMurmur2Java has the vectors of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
func TestMurmur2Java(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, Java has %d", key, got, want)
		}
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2([]byte(%q)) = %d, Java has %d", key, got, want)
		}
	}
}

// TestPartitionIsKafkas compares with the partitioner that franz-go uses by default.
func TestPartitionIsKafkas(t *testing.T) {
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("topic")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key")
		n := rapid.IntRange(1, 1000).Draw(t, "partitions")
		want := partitioner.Partition(&kgo.Record{Key: key}, n)
		if got := Partition(key, n); got != want {
			t.Fatalf("Partition(%x, %d) = %d, franz-go has %d", key, n, got, want)
		}
		if got := Shard(string(key), n); got != want {
			t.Fatalf("Shard(%x, %d) = %d, franz-go has %d", key, n, got, want)
		}
	})
}

// TestShardsWriteDisjointPartitions is why shard and partition come from one function.
func TestShardsWriteDisjointPartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.String().Draw(t, "key")
		shards := rapid.IntRange(1, 32).Draw(t, "shards")
		times := rapid.IntRange(1, 8).Draw(t, "times")
		if p := Partition([]byte(key), shards*times); p%shards != Shard(key, shards) {
			t.Fatalf("partition %d of %d is not one of shard %d of %d", p, shards*times, Shard(key, shards),
				shards)
		}
	})
}

func BenchmarkShard(b *testing.B) {
	for b.Loop() {
		Shard("0197f3a2-7c1e-7b1a-9f3e-2d1c0b9a8f7e", 4)
	}
}
