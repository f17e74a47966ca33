# Makes testdata/kubernetes.json, the schema that the manifests are checked by, from the OpenAPI documents of Kubernetes' own
# source (directory api/openapi-spec/v3), here of v1.34.1:
#
#   jq -n -f schema.jq api__v1_openapi.json apis__{apps__v1,autoscaling__v2,networking.k8s.io__v1,policy__v1}_openapi.json
#
# What the named kinds do not need is left out, and so are descriptions; fields that there are not become errors. A Quantity
# gets its grammar, which the documents only describe.
def name: sub("^.*/"; "");
def refs: [.. | objects | .["$ref"]? | strings | name] | unique;
def closure($all): . as $have | ([$have[] | $all[.] | refs[]] + $have | unique) as $more
  | if ($more | length) == ($have | length) then $have else $more | closure($all) end;
def tidy: walk(if type == "object" then
    with_entries(select((.key == "description" and (.value | type) == "string" or .key == "default" or (.key | startswith("x-kubernetes-"))) | not))
    | if (.["$ref"]? | type) == "string" then .["$ref"] |= "#/$defs/" + name else . end
    | if .type? == "object" and (.properties? | type) == "object" and .additionalProperties? == null then .additionalProperties = false else . end
  else . end);
(reduce inputs as $doc ({}; . + $doc.components.schemas)) as $all
| ["apps.v1.Deployment", "autoscaling.v2.HorizontalPodAutoscaler", "core.v1.ConfigMap", "core.v1.Namespace", "core.v1.Secret", "core.v1.Service",
   "networking.v1.NetworkPolicy", "policy.v1.PodDisruptionBudget"] | map("io.k8s.api." + .) | . as $kinds
| closure($all) | map({key: ., value: ($all[.] | tidy)}) | from_entries
| .["io.k8s.apimachinery.pkg.api.resource.Quantity"].oneOf[0].pattern = "^[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
| {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "From Kubernetes v1.34.1, Apache-2.0; made by schema.jq.", "$defs": .,
   kinds: ($kinds | map($all[.]["x-kubernetes-group-version-kind"][0] as $k
     | {key: ((if $k.group == "" then "" else $k.group + "/" end) + $k.version + " " + $k.kind), value: .}) | from_entries)}
