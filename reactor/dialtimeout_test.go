package reactor

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// mute is a filter whose handshake waits for bytes that never come.
type mute struct{ Filter }

func (mute) Handshake(src []byte) (int, bool, error)  { return len(src), false, nil }
func (mute) Output(dst []byte) []byte                 { return dst }
func (mute) NextRecord([]byte) int                    { return 1 }
func (mute) Finish(dst []byte, _ error) []byte        { return dst }
func (mute) EOF() error                               { return nil }
func (mute) Release()                                 {}
func (mute) SealedSize(n int) int                     { return n }
func (mute) Seal(d, s []byte, _ bool) ([]byte, error) { return append(d, s...), nil }
func (mute) Open(d, s []byte) ([]byte, int, error)    { return append(d, s...), len(s), nil }
func (mute) Step() (bool, error)                      { return false, nil }

// TestDialTimeout: a dial's own timeout counts instead of the reactor's, in both directions.
func TestDialTimeout(t *testing.T) {
	for _, v := range []struct {
		name            string
		reactors, dials time.Duration
		ends            bool
	}{
		{"shorter", 24 * time.Hour, 50 * time.Millisecond, true},
		{"the reactor's", 50 * time.Millisecond, 0, true},
		{"longer", 50 * time.Millisecond, time.Hour, false},
		{"none", 50 * time.Millisecond, -1, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := start(t, Config{Loops: 1, HandshakeTimeout: v.reactors})
			lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: script{}.with})
			if err != nil {
				t.Fatal(err)
			}
			closed := make(chan error, 1)
			c, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Timeout: v.dials, Filter: func() Filter { return mute{} },
				Protocol: script{close: func(_ *Conn, err error) { closed <- err }}.with})
			if err != nil {
				t.Fatal(err)
			}
			if v.ends {
				if err := <-closed; !errors.Is(err, ErrHandshakeTimeout) {
					t.Errorf("ended with %v, want ErrHandshakeTimeout", err)
				}
				return
			}
			select {
			case err := <-closed:
				t.Errorf("ended with %v", err)
			case <-time.After(300 * time.Millisecond):
			}
			_ = c.Post(func() { c.Abort(nil) })
			<-closed
		})
	}
}

// TestDialTimeoutRange: values that make no sense are refused by name.
func TestDialTimeoutRange(t *testing.T) {
	r := start(t, Config{Loops: 1})
	for _, d := range []time.Duration{time.Millisecond, 25 * time.Hour} {
		_, err := r.Dial("tcp", "127.0.0.1:1", DialConfig{Timeout: d, Protocol: echo.with})
		if err == nil || !strings.Contains(err.Error(), "DialConfig.Timeout is "+d.String()) {
			t.Errorf("%v: %v", d, err)
		}
	}
}
