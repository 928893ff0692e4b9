package bench

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// TestRawRedis: replies of any size end where they end, one after the other.
func TestRawRedis(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("secret")
	r, err := openRaw(t.Context(), &redis.Options{Addr: server.Addr(), Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, n := range []int{
		0, 1, 100, len(r.buf) - 20, len(r.buf) - 10, len(r.buf),
		3*len(r.buf) + 7,
	} {
		value := string(make([]byte, n))
		if err := server.Set("k", value); err != nil {
			t.Fatal(err)
		}
		want := len(fmt.Sprintf("$%d\r\n%s\r\n", n, value))
		for range 3 {
			if got, err := r.discard("GET", "k"); got != want || err != nil {
				t.Fatalf("%d bytes, %v, want %d", got, err, want)
			}
		}
	}
	server.RequireAuth("other")
	if _, err := openRaw(t.Context(),
		&redis.Options{Addr: server.Addr(), Password: "secret"}); err == nil {
		t.Error("a wrong password is no error")
	}
}
