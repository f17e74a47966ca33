package framer_test

import (
	"context"
	"fmt"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// gateway is the whole application: one Handler, for every connection and every transport.
type gateway struct{}

func (gateway) OnOpen(*framer.Session)         {}
func (gateway) OnClose(*framer.Session, error) {}
func (gateway) OnFrame(s *framer.Session, f *framer.Frame) {
	_ = s.Reply(f, 200, f.Payload) // in place: the payload is sent from where it was received
}

// An echo gateway and a client that asks it from an ordinary goroutine, over plain TCP.
func Example() {
	loops, err := reactor.New(reactor.Config{})
	check(err)
	defer loops.Close()
	end, err := framer.NewEndpoint(gateway{}, framer.Options{})
	check(err)
	protocol := func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }

	lis, err := loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: protocol})
	check(err)
	var client *framer.Session
	_, err = loops.Dial("tcp", lis.Addr().String(), reactor.DialConfig{Protocol: func(c *reactor.Conn) reactor.Protocol {
		client = end.Session(c)
		return client
	}})
	check(err)
	reply, err := client.Ask(context.Background(), &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: []byte("hello")})
	check(err)
	fmt.Println(reply.Code, string(reply.Payload))
	// Output: 200 hello
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
