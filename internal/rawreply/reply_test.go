package rawreply

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestAnswered(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		"-WRONGTYPE Operation against a key\r\n": "WRONGTYPE Operation against a key",
		"-MOVED 3999 127.0.0.1:6381\r\n":         "MOVED 3999 127.0.0.1:6381",
		"!21\r\nSYNTAX invalid syntax\r\n":       "SYNTAX invalid syntax",
		"*0\r\n":                                 "", "*-1\r\n": "", "_\r\n": "", "": "",
		"$2\r\n-1\r\n": "",
	} {
		err := answered([]byte(reply))
		if err != nil {
			if got := err.Error(); got != want {
				t.Errorf("%q: got %q, want %q", reply, got, want)
			}
		} else if want != "" {
			t.Errorf("%q: no error, want %q", reply, want)
		}
	}
	if err := answered([]byte("-WRONGTYPE x\r\n")); !redis.HasErrorPrefix(err, "WRONGTYPE") {
		t.Errorf("go-redis does not take %v for a reply", err)
	}
}
