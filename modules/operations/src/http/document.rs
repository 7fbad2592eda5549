//! The API document of the routes every kind has, in the words of a kind: what the handlers of this folder do, said once.

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Components, ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Required};
use utoipa::{IntoParams as _, PartialSchema, ToSchema};

use crate::filters::Filters;
use crate::kind::{Kind, View};
use crate::view::HostOutput;

const FORGED: &str = "`malformed`: the cursor is not one of ours";
const JSON: &str = "application/json";

/// A kind's own document with the routes that every kind has.
pub fn document<K: Kind>(mut own: OpenApi) -> OpenApi {
    let base = format!("/fleet/{}", K::NAMES.module);
    let operations = [
        ("", list::<K>()),
        ("/{id}", one::<K>()),
        ("/{id}/progress", progress::<K>()),
        ("/{id}/hosts", hosts::<K>()),
        ("/{id}/hosts/{host_id}/output", output::<K>()),
        ("/{id}/events", events::<K>()),
    ];
    for (path, operation) in operations {
        let path = format!("{base}{path}");
        let item = own.paths.paths.entry(path).or_default();
        item.merge_operations(PathItem::new(HttpMethod::Get, operation));
    }
    let components = own.components.get_or_insert_with(Components::default);
    let mut schemas = vec![page_of_operations::<K>(), page_of_hosts::<K>()];
    add::<K::Summary>(&mut schemas);
    add::<K::Detail>(&mut schemas);
    add::<K::Progress>(&mut schemas);
    add::<K::Host>(&mut schemas);
    add::<HostOutput>(&mut schemas);
    components.schemas.extend(schemas);
    own
}

fn list<K: Kind>() -> Operation {
    let names = K::NAMES;
    let mut full = names.full.to_owned();
    if let Some(first) = full.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let status = query::<String>("status", Some(names.texts.statuses));
    let filters = Filters::into_params(|| Some(ParameterIn::Query));
    let parameters = [status].into_iter().chain(filters).chain(paging());
    operation::<K>("list", &format!("{full}s, newest first."))
        .parameters(Some(parameters))
        .response("200", content("A page", &page_name::<K>()))
        .response("400", said(FORGED))
        .response("422", said("A filter or the limit is invalid"))
        .build()
}

fn one<K: Kind>() -> Operation {
    let names = K::NAMES;
    let summary = format!("One {} with its counters and what was asked.", names.full);
    let etag = HeaderBuilder::new()
        .schema(Some(String::schema()))
        .description(Some(names.texts.etag));
    let found = of_type(&format!("The {}", names.short), JSON, &K::Detail::name());
    operation::<K>("get", &summary)
        .parameters(Some([id("id"), header("If-None-Match", None)]))
        .response("200", found.header("etag", etag.build()))
        .response("304", said("It is what the client has"))
        .response("404", missing::<K>(""))
        .build()
}

fn progress<K: Kind>() -> Operation {
    let summary = "How far it is. The five counters always sum to `total`.";
    operation::<K>("progress", summary)
        .parameters(Some([id("id")]))
        .response(
            "200",
            content("The counters and the status", &K::Progress::name()),
        )
        .response("404", missing::<K>(""))
        .build()
}

fn hosts<K: Kind>() -> Operation {
    let texts = K::NAMES.texts;
    let own = [
        id("id"),
        query::<String>("status", Some(texts.host_statuses)),
    ];
    operation::<K>("hosts", texts.hosts)
        .parameters(Some(own.into_iter().chain(paging())))
        .response("200", content("A page", &host_page_name::<K>()))
        .response("400", said(FORGED))
        .response("404", missing::<K>(""))
        .response("422", said("The status or the limit is invalid"))
        .build()
}

fn output<K: Kind>() -> Operation {
    let summary = "What one host printed: all that is stored of both streams.";
    let both = "Both streams; empty if the host has not finished";
    let of_rollback = K::HAS_ROLLBACK.then(|| {
        let text = format!("The output of the rollback, not of the {}.", K::NAMES.short);
        query::<bool>("rollback", Some(&text))
    });
    let ids = [id("id"), id("host_id")];
    operation::<K>("output", summary)
        .parameters(Some(ids.into_iter().chain(of_rollback)))
        .response("200", content(both, &HostOutput::name()))
        .response("404", missing::<K>(", or the host is not in it"))
        .build()
}

fn events<K: Kind>() -> Operation {
    let summary = format!("Follow the progress of {}.", K::NAMES.a_short);
    let ignored = "Ignored: the current snapshot always comes first";
    let named = "Events named `progress`, each with the counters and the status";
    let stream = of_type(named, "text/event-stream", &K::Progress::name());
    operation::<K>("events", &summary)
        .parameters(Some([id("id"), header("Last-Event-ID", Some(ignored))]))
        .response("200", stream)
        .response("404", missing::<K>(""))
        .build()
}

fn operation<K: Kind>(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .tag(K::NAMES.module)
        .operation_id(Some(id))
        .summary(Some(summary))
}

fn id(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))),
        ))
        .build()
}

fn query<T: PartialSchema>(name: &str, description: Option<&str>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(description)
        .schema(Some(T::schema()))
        .build()
}

fn header(name: &str, description: Option<&str>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(description)
        .schema(Some(text_or_null()))
        .build()
}

/// As a field that may be left out is described.
fn text_or_null() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]))
}

fn paging() -> [Parameter; 2] {
    [
        query::<u32>("limit", Some("1 to 500, default 50")),
        query::<String>("cursor", None),
    ]
}

fn said(description: &str) -> ResponseBuilder {
    ResponseBuilder::new().description(description)
}

fn missing<K: Kind>(more: &str) -> ResponseBuilder {
    said(&format!("No such {}{more}", K::NAMES.short))
}

fn content(description: &str, schema: &str) -> ResponseBuilder {
    of_type(description, JSON, schema)
}

fn of_type(description: &str, media_type: &str, schema: &str) -> ResponseBuilder {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema)));
    said(description).content(media_type, body.build())
}

type Named = (String, RefOr<Schema>);

fn page_of_operations<K: Kind>() -> Named {
    let text = format!("A page of {}s, newest first.", K::NAMES.short);
    (page_name::<K>(), page::<K::Summary>(&text))
}

fn page_of_hosts<K: Kind>() -> Named {
    let text = K::NAMES.texts.host_page;
    (host_page_name::<K>(), page::<K::Host>(text))
}

fn page<T: View>(description: &str) -> RefOr<Schema> {
    let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
    ObjectBuilder::new()
        .description(Some(description))
        .property("items", items)
        .required("items")
        .property("next_cursor", text_or_null())
        .into()
}

fn page_name<K: Kind>() -> String {
    format!("{}Page", K::NAMES.schema)
}

fn host_page_name<K: Kind>() -> String {
    format!("{}HostPage", K::NAMES.schema)
}

fn add<T: ToSchema>(schemas: &mut Vec<Named>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}
