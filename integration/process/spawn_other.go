//go:build !linux

package process

import "os/exec"

// spawn starts cmd. Only Linux can tie its life to this process; elsewhere it shares the process
// group, so that an interrupt typed at the terminal ends both.
func spawn(cmd *exec.Cmd) error { return cmd.Start() }

func AwaitStopped(int) error { return nil }
