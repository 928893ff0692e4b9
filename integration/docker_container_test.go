//go:build integration

package integration

import "testing"

func TestSplitImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][2]string{
		"redis:7.0":           {"redis", "7.0"},
		"apache/kafka":        {"apache/kafka", "latest"},
		"host:5000/redis":     {"host:5000/redis", "latest"},
		"host:5000/redis:7.0": {"host:5000/redis", "7.0"},
	} {
		if repository, tag := splitImage(image); repository != want[0] || tag != want[1] {
			t.Errorf("%s: %s and %s", image, repository, tag)
		}
	}
}
