package tor_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor"
)

// gateway answers each frame with its payload.
type gateway struct{}

func (gateway) OnOpen(*framer.Session)         {}
func (gateway) OnClose(*framer.Session, error) {}
func (gateway) OnFrame(s *framer.Session, f *framer.Frame) {
	_ = s.Reply(f, 200, f.Payload)
}

// A gateway that is an onion service. It is compiled, not run: it would use the public Tor network.
func Example() {
	t, err := tor.Open(tor.Config{OnStatus: func(s tor.Status) { log.Printf("tor: %v, %d %% %s %s", s.State, s.Progress, s.Phase, s.Detail) }})
	if err != nil {
		log.Fatal(err)
	}
	defer t.Close() // after the reactor's end, which comes first: deferred calls run backwards
	loops, err := reactor.New(reactor.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer loops.Close()
	end, err := framer.NewEndpoint(gateway{}, framer.Options{Transports: []string{"tor"}, Ready: t.Ready})
	if err != nil {
		log.Fatal(err)
	}
	protocol := func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }
	svc, err := t.Listen(loops, tor.ServiceConfig{KeyFile: "onion.key", Listen: reactor.ListenConfig{Protocol: protocol}})
	if err != nil {
		log.Fatal(err)
	}
	if err := svc.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("at", svc.Addr())

	var client *framer.Session
	if _, err := t.Dial(loops, svc.Addr(), tor.DialConfig{Isolation: "tenant 7", Protocol: func(c *reactor.Conn) reactor.Protocol {
		client = end.Session(c)
		return client
	}}); err != nil {
		log.Fatal(err)
	}
	reply, err := client.Ask(context.Background(), &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: []byte("hello")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Code, string(reply.Payload))
}
