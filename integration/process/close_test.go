package process

import "testing"

// closeAtEnd ends the process with the test.
func closeAtEnd(t *testing.T, p *Process) {
	t.Helper()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
}
