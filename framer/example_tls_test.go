package framer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// The same gateway over TLS 1.3: only the filters are new.
func Example_tls() {
	cert, roots := throwAway()
	server, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	check(err)
	dialer, err := tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots}})
	check(err)
	loops, err := reactor.New(reactor.Config{})
	check(err)
	defer loops.Close()
	end, err := framer.NewEndpoint(gateway{}, framer.Options{})
	check(err)

	lis, err := loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { return end.Session(c) },
		Filter:   func() reactor.Filter { return server.Conn() },
	})
	check(err)
	var client *framer.Session
	_, err = loops.Dial("tcp", lis.Addr().String(), reactor.DialConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { client = end.Session(c); return client },
		Filter:   func() reactor.Filter { return dialer.Conn("localhost") },
	})
	check(err)
	reply, err := client.Ask(context.Background(), &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: []byte("hello")})
	check(err)
	fmt.Println(reply.Code, string(reply.Payload))
	// Output: 200 hello
}

// throwAway makes a certificate for localhost and the roots that trust it.
func throwAway() (stdtls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	check(err)
	leaf, err := x509.ParseCertificate(der)
	check(err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}
