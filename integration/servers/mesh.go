package servers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// ErrNotIsolable is returned for a broker whose cluster was started without Isolable.
var ErrNotIsolable = errors.New("servers: this broker's cluster was not started with Isolable")

// mesh is the network among the brokers of one cluster. Clients do not come through it.
//
// Brokers advertise names to each other, and every broker's virtual machine has a hosts file of its
// own, in which the name of another broker is the address of a proxy: one for each direction
// between two brokers, at the other's port on an address of its own in 127/8. So it is known of
// every connection from whom to whom it goes. A broker's own name is its real address: it can
// always reach itself.
type mesh struct {
	mu        sync.Mutex
	links     []*meshLink
	separated map[int]separation // by broker; joined for those that are not in it
}

// meshLink is one direction between two brokers, to one of the two listeners they use.
type meshLink struct {
	from, to   int
	controller bool // to the controller's listener, else to the broker's
	proxy      *Proxy
	state      linkState
}

// separation is what lies between a broker and the others.
type separation int

const (
	joined separation = iota
	held
	withoutControllers
	isolated
)

// linkState is what a link does. The greater one wins if the two ends want different ones.
type linkState int

const (
	linkCarries linkState = iota
	linkHolds
	linkCut
)

// wants is the state that a broker's separation asks of a link that begins or ends at it.
func (s separation) wants(l *meshLink) linkState {
	switch {
	case s == held:
		return linkHolds
	case s == isolated, s == withoutControllers && l.controller:
		return linkCut
	}
	return linkCarries
}

// Isolate cuts the broker off from the other brokers and from their controllers: nothing is
// replicated from it or to it, and what the controllers decide it does not learn. Clients reach it
// as before, and it serves them with what it knows. Connections break; new ones fail at once.
func (b *Broker) Isolate() error { return b.separate(isolated) }

// IsolateFromControllers is Isolate for controllers only: other brokers still reach this one, and
// it them.
func (b *Broker) IsolateFromControllers() error { return b.separate(withoutControllers) }

// Hold is Isolate without a sign: connections stay open, and what is sent on them is kept back.
// Heal lets it go on, so that what was under way arrives late.
func (b *Broker) Hold() error { return b.separate(held) }

// Heal ends Isolate, IsolateFromControllers and Hold. Towards a broker that is still separated
// itself nothing changes.
func (b *Broker) Heal() error { return b.separate(joined) }

func (b *Broker) separate(s separation) error {
	if b.mesh == nil {
		return fmt.Errorf("%s: %w", b.Name, ErrNotIsolable)
	}
	b.mesh.separate(b.ID, s)
	return nil
}

func (m *mesh) separate(id int, s separation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.separated[id] = s
	for _, l := range m.links {
		l.become(max(m.separated[l.from].wants(l), m.separated[l.to].wants(l)))
	}
}

// become leaves a link alone that is as it should be: a connection that was let through for a
// moment would be a hole.
func (l *meshLink) become(s linkState) {
	if s == l.state {
		return
	}
	if s == linkCarries || l.state == linkCut {
		l.proxy.Heal()
	}
	switch s {
	case linkCarries:
	case linkHolds:
		l.proxy.Pause()
	case linkCut:
		l.proxy.Cut()
	}
	l.state = s
}

// newMesh makes the links among the nodes, which have their ports. Each proxy is closed with the
// broker that it leads to.
func newMesh(brokers []*Broker, nodes []node) (*mesh, error) {
	m := &mesh{separated: map[int]separation{}}
	for i, to := range nodes {
		for _, from := range nodes {
			if from.id == to.id {
				continue
			}
			for _, port := range []int{to.internal, to.controller} {
				p, err := newProxyAt(meshAddr(from.id, to.id, port), loopback(port))
				if err != nil {
					return nil, err
				}
				brokers[i].cleanup = append(brokers[i].cleanup, p.Close)
				m.links = append(m.links, &meshLink{
					from: from.id, to: to.id, controller: port == to.controller, proxy: p,
				})
			}
		}
	}
	return m, nil
}

// meshName is how brokers call each other.
func meshName(id int) string { return fmt.Sprintf("kafka-%d", id) }

// meshHost is where one broker finds the proxies before another. Linux has all of 127/8 on
// loopback; elsewhere such addresses have to be added to the interface first.
func meshHost(from, to int) string {
	if from == to {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.1", from, to)
}

func meshAddr(from, to, port int) string { return fmt.Sprintf("%s:%d", meshHost(from, to), port) }

// meshHosts writes the hosts file of a broker, and returns the option that makes Java use it
// instead of any other source of addresses.
func meshHosts(b *Broker, nodes []node) (string, error) {
	text := "127.0.0.1 localhost\n"
	if name, err := os.Hostname(); err == nil && !strings.Contains(name, "localhost") {
		text += "127.0.0.1 " + name + "\n"
	}
	for _, n := range nodes {
		text += fmt.Sprintf("%s %s\n", meshHost(b.ID, n.id), meshName(n.id))
	}
	file := filepath.Join(b.dir, "hosts")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("hosts of %s: %w", b.Name, err)
	}
	return "-Djdk.net.hosts.file=" + file, nil
}
