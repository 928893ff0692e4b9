package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

// container is a server that runs in a container of the Docker engine on this machine.
type container struct {
	spec unitSpec
	id   string
	done chan struct{} // closed at the end of the current run
}

func (u *container) start(ctx context.Context) error {
	pool, err := engine()
	if err != nil {
		return err
	}
	if u.id == "" {
		err = u.create(pool)
	} else {
		err = pool.Client.StartContainerWithContext(u.id, nil, ctx)
	}
	if err != nil {
		return fmt.Errorf("start %s from image %s: %w", u.spec.name, u.spec.image, err)
	}
	done := make(chan struct{})
	u.done = done
	id := u.id
	go func() {
		// An error means that the engine or the container is gone, which is an end as well.
		_, _ = pool.Client.WaitContainer(id)
		close(done)
	}()
	return nil
}

func (u *container) create(pool *dockertest.Pool) error {
	repository, tag := splitImage(u.spec.image)
	o := &dockertest.RunOptions{
		Repository: repository,
		Tag:        tag,
		Entrypoint: u.spec.command[:1],
		Cmd:        u.spec.command[1:],
		Env:        u.spec.env,
		Mounts:     []string{u.spec.dir + ":" + u.spec.dir},
		WorkingDir: u.spec.dir,
		// The files stay ours, to copy and to remove.
		User:         fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()),
		Labels:       map[string]string{ownerLabel: strconv.Itoa(os.Getpid())},
		PortBindings: map[docker.Port][]docker.PortBinding{},
	}
	if !u.spec.hostNetwork {
		for _, port := range u.spec.ports {
			p := strconv.Itoa(port)
			o.ExposedPorts = append(o.ExposedPorts, p+"/tcp")
			o.PortBindings[docker.Port(p+"/tcp")] = []docker.PortBinding{{HostIP: "127.0.0.1", HostPort: p}}
		}
	}
	r, err := pool.RunWithOptions(o, func(h *docker.HostConfig) {
		h.PublishAllPorts = false
		if u.spec.hostNetwork {
			h.NetworkMode = "host"
		}
	})
	if err != nil {
		return err
	}
	u.id = r.Container.ID
	return nil
}

// signal sends a signal to the server, which is the container's first process. A container that has
// ended is no error.
func (u *container) signal(sig docker.Signal) error {
	if u.id == "" {
		return nil
	}
	pool, err := engine()
	if err != nil {
		return err
	}
	err = pool.Client.KillContainer(docker.KillContainerOptions{ID: u.id, Signal: sig})
	var gone *docker.ContainerNotRunning
	var missing *docker.NoSuchContainer
	if err == nil || errors.As(err, &gone) || errors.As(err, &missing) || u.hasEnded() {
		return nil
	}
	return fmt.Errorf("signal %d to %s: %w", sig, u.spec.name, err)
}

func (u *container) hasEnded() bool {
	select {
	case <-u.done:
		return true
	// The engine may know of the end a moment before we do.
	case <-time.After(time.Second):
		return false
	}
}

func (u *container) kill() error {
	if err := u.signal(docker.SIGKILL); err != nil || u.id == "" {
		return err
	}
	<-u.done
	return nil
}

func (u *container) terminate(ctx context.Context) error {
	if err := u.signal(docker.SIGTERM); err != nil {
		return err
	}
	select {
	case <-u.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end after SIGTERM: %w", u.spec.name, ctx.Err()), u.kill())
	}
}

// freeze uses the signal rather than the engine's pause, as a paused container cannot be killed.
func (u *container) freeze() error {
	if err := u.signal(docker.SIGSTOP); err != nil {
		return err
	}
	if pid := u.pid(); pid != 0 {
		return awaitStopped(pid)
	}
	return nil
}

func (u *container) thaw() error { return u.signal(docker.SIGCONT) }

func (u *container) ended() <-chan struct{} { return u.done }

func (u *container) output() string {
	pool, err := engine()
	if err != nil || u.id == "" {
		return ""
	}
	var out bytes.Buffer
	err = pool.Client.Logs(docker.LogsOptions{
		Container: u.id, OutputStream: &out, ErrorStream: &out, Stdout: true, Stderr: true, Tail: "30",
	})
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	return strings.TrimRight(out.String(), "\n")
}

func (u *container) pid() int {
	pool, err := engine()
	if err != nil || u.id == "" {
		return 0
	}
	c, err := pool.Client.InspectContainer(u.id)
	if err != nil {
		return 0
	}
	return c.State.Pid
}

func (u *container) remove() error {
	if u.id == "" {
		return nil
	}
	err := u.kill()
	pool, engineErr := engine()
	if engineErr != nil {
		return errors.Join(err, engineErr)
	}
	id := u.id
	u.id = ""
	return errors.Join(err, removeContainer(pool, id))
}

// splitImage separates the tag; a colon before the last slash is that of a registry's port.
func splitImage(image string) (repository, tag string) {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, "latest"
}
