package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/ocsp"

	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// Every field of certs.Config has its flag, but for the pairs and the callback: setting the flag sets that field and no other.
func TestCertFlagsReachTheirFields(t *testing.T) {
	var check func(path string, index []int, f reflect.Type)
	check = func(path string, index []int, f reflect.Type) {
		for i := range f.NumField() {
			name, at := path+f.Field(i).Name, append(index[:len(index):len(index)], i)
			if name == "Pairs" || name == "OnEvent" {
				continue
			}
			if f.Field(i).Type.Kind() == reflect.Struct {
				check(name+".", at, f.Field(i).Type)
				continue
			}
			flag, ok := certFields()[name]
			if !ok {
				t.Errorf("certs.Config.%s has no flag", name)
				continue
			}
			want, value := defaultCerts(), ""
			switch v := reflect.ValueOf(&want).Elem().FieldByIndex(at); v.Interface().(type) {
			case time.Duration:
				v.SetInt(12345)
				value = "12345ns"
			case int:
				v.SetInt(3)
				value = "3"
			case bool:
				v.SetBool(true)
				value = map[bool]string{true: "false", false: "true"}[flag == "ocsp"] // the inverse of Disable
			case string:
				v.SetString("x")
				value = "x"
			}
			var k knobs
			set := pflag.NewFlagSet("", pflag.ContinueOnError)
			k.register(set, true)
			if !reflect.DeepEqual(k.certs, defaultCerts()) || set.Lookup("ocsp").DefValue != "true" {
				t.Errorf("defaults %+v", k.certs)
			}
			if err := set.Parse([]string{"--" + flag + "=" + value}); err != nil || !reflect.DeepEqual(k.certs, want) {
				t.Errorf("--%s=%s: %+v, %v; want only %s to change", flag, value, k.certs, err, name)
			}
		}
	}
	check("", nil, reflect.TypeFor[certs.Config]())
}

// issued writes a leaf of a new CA, whose responder is at url, to dir, with the CA behind it. The answer is what the responder says.
func issued(t *testing.T, dir, url string) *[]byte {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	make := func(tmpl, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		if by == nil {
			parent, by = tmpl, key
		}
		tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 3, 0)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
		must(err)
		c, err := x509.ParseCertificate(der)
		must(err)
		return c, key
	}
	ca, caKey := make(&x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}, nil, nil)
	serial := big.NewInt(time.Now().UnixNano())
	leaf, key := make(&x509.Certificate{SerialNumber: serial, DNSNames: []string{"a.test"}, OCSPServer: []string{url}}, ca, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	var chain bytes.Buffer
	for _, c := range []*x509.Certificate{leaf, ca} {
		must(pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	must(os.WriteFile(filepath.Join(dir, "crt"), chain.Bytes(), 0o644))
	must(os.WriteFile(filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	answer, err := ocsp.CreateResponse(ca, ca, ocsp.Response{Status: ocsp.Good, SerialNumber: serial, ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(time.Hour)}, caKey)
	must(err)
	return &answer
}

// lines gives each write to a channel.
type lines chan string

func (l lines) Write(b []byte) (int, error) { l <- string(b); return len(b), nil }

func (l lines) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case got := <-l:
			if strings.Contains(got, want) {
				return
			}
		case <-late:
			t.Fatalf("never told %q", want)
		}
	}
}

// With --cert and --key the Store is between the files and the connections: it staples, reloads at SIGHUP, takes ticket keys
// from the file, and refuses a key that others may read.
func TestCertFilesAreTheStores(t *testing.T) {
	var answer atomic.Pointer[[]byte]
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*answer.Load()) }))
	defer responder.Close()
	dir, told := t.TempDir(), make(lines, 64)
	o := &serverOptions{kind: serverKinds()[0], listen: "127.0.0.1:0", cert: dir + "/crt", key: dir + "/key", stderr: told}
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.knobs.register(set, true)
	if err := set.Parse([]string{"--cert-interval=-1s", "--ticket-owner", "--ticket-file=" + dir + "/tickets"}); err != nil {
		t.Fatal(err)
	}
	answer.Store(issued(t, dir, responder.URL))
	if err := os.Chmod(o.key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openOurs(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "--cert, --key") || !strings.Contains(err.Error(), "0644") {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := os.Chmod(o.key, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openOurs(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	check := func() {
		t.Helper()
		told.await(t, "stapled")
		c, err := stdtls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.Addr(), &stdtls.Config{InsecureSkipVerify: true, ServerName: "a.test",
			NextProtos: []string{tls.ALPN}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.OCSPResponse(); !bytes.Equal(got, *answer.Load()) {
			t.Errorf("a staple of %d bytes, want %d", len(got), len(*answer.Load()))
		}
	}
	check()
	answer.Store(issued(t, dir, responder.URL))
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	told.await(t, "reloaded")
	check()
	if keys, err := certs.ReadTicketFile(dir + "/tickets"); err != nil || len(keys) != 1 {
		t.Errorf("%d ticket keys, %v", len(keys), err)
	}
}
