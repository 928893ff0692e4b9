package bench

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9/logging"
)

// A driver's process says why it cannot start, in a form that the measuring process reads.
func TestDriveTellsItsFailure(t *testing.T) {
	logging.Disable() // go-redis tells of the refused connections too
	defer logging.Enable()
	for name, c := range map[string]struct{ in, want string }{
		"nothing": {"", "no job"},
		"no JSON": {"hello\n", "job: invalid character"},
		"a broken URL": {
			`{"driver":{"kind":"loop","shards":1},"redis":"redis://%zz"}` + "\n",
			"redis: ",
		},
		"nobody there": {`{"driver":{"kind":"loop","shards":1},` +
			`"redis":"redis://127.0.0.1:1?max_retries=-1"}` + "\n", "redis: "},
		"no such driver": {`{"driver":{"kind":"pigeon","shards":1},` +
			`"redis":"redis://127.0.0.1:1?max_retries=-1"}` + "\n", "redis: "},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Drive(context.Background(), strings.NewReader(c.in), &out)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
			if !strings.Contains(out.String(), `"event":"failed"`) {
				t.Errorf("told: %q", out.String())
			}
		})
	}
}
