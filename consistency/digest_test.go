package consistency

import (
	"testing"

	"pgregory.net/rapid"
)

// TestDigest: the order does not matter, and nothing cancels.
func TestDigest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) hash128 {
			return hash128{rapid.Uint64().Draw(t, "hi"), rapid.Uint64Min(1).Draw(t, "lo")}
		})
		set := rapid.SliceOfN(one, 1, 20).Draw(t, "set")
		var a, b, twice Digest
		for _, h := range set {
			a.add(h)
		}
		for _, h := range rapid.Permutation(set).Draw(t, "order") {
			b.add(h)
		}
		twice = a
		twice.add(set[0])
		twice.add(set[0])
		if a != b || twice == a && set[0] != (hash128{1 << 63, 0}) {
			t.Fatalf("%s %s %s", a, b, twice)
		}
		text, _ := a.MarshalText()
		var back Digest
		if err := back.UnmarshalText(text); err != nil || back != a {
			t.Fatalf("%s: %s %v", text, back, err)
		}
	})
}

// TestEveryPartOfAnImageCounts: images that differ in one part have different hashes, and parts
// cannot flow into each other.
func TestEveryPartOfAnImageCounts(t *testing.T) {
	t.Parallel()
	base := func() image {
		return image{
			shard: 1, id: EntryID{MS: 5, Seq: 1}, topic: "t", partition: 2,
			key:   []byte("key"),
			value: []byte("value"), headers: []header{{"a", []byte("1")}, {"b", []byte("2")}},
		}
	}
	h := hasher{key: [16]byte{1}}
	sum := func(change func(*image)) hash128 {
		im := base()
		change(&im)
		return h.sum(&im)
	}
	seen := map[hash128]string{sum(func(*image) {}): "nothing"}
	if _, same := seen[sum(func(*image) {})]; !same {
		t.Error("one image has two hashes")
	}
	for name, change := range map[string]func(*image){
		"shard": func(i *image) {
			i.shard++
		}, "ms": func(i *image) {
			i.id.MS++
		}, "seq": func(i *image) { i.id.Seq++ }, "topic": func(i *image) { i.topic = "u" },
		"partition": func(i *image) {
			i.partition++
		}, "key": func(i *image) { i.key = []byte("keyv") }, "value": func(i *image) { i.value = nil },
		"null": func(i *image) {
			i.value, i.null = nil, true
		}, "header value": func(i *image) {
			i.headers[0].value = nil
		}, "header name": func(i *image) { i.headers[1].name = "c" },
		"header order": func(i *image) {
			i.headers[0], i.headers[1] = i.headers[1], i.headers[0]
		}, "header gone": func(i *image) { i.headers = i.headers[:1] },
		"moved byte": func(i *image) { i.key, i.value = []byte("keyv"), []byte("alue") },
	} {
		s := sum(change)
		if other, ok := seen[s]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[s] = name
	}
	other := hasher{key: [16]byte{2}}
	im := base()
	if _, same := seen[other.sum(&im)]; same {
		t.Error("the key does not matter")
	}
}
