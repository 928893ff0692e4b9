package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawn starts cmd so that the kernel kills it when this process ends.
//
// The kernel sends the parent-death signal when the *thread* that started the child ends, not the
// process. Go ends a thread when a goroutine locked to it returns, which any test may do. So one
// goroutine owns one thread for as long as the process lives and starts every child.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Its own group: an interrupt typed at the terminal goes to the test, which cleans up.
		Setpgid: true,
	}
	result := make(chan error)
	spawner() <- func() { result <- cmd.Start() }
	return <-result
}

var spawner = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go spawnThread(jobs)
	return jobs
})

// spawnThread never returns; a leak detector has to be told to ignore it by this name.
func spawnThread(jobs <-chan func()) {
	runtime.LockOSThread()
	for job := range jobs {
		job()
	}
}

// AwaitStopped waits until the kernel shows the process as stopped: the signal is only queued when
// kill returns, and a copy of files made before it took effect would not be a frozen one.
func AwaitStopped(pid int) error {
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		// The state follows the command's name, which is in parentheses and may hold anything.
		text := string(stat)
		if i := strings.LastIndexByte(text, ')'); i >= 0 && i+2 < len(text) && text[i+2] == 'T' {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d still runs a second after SIGSTOP", pid)
}
