//! The routes of `/v1` with the OpenAPI 3.1 document that is generated from them, and the page that
//! shows it. Document and page are served by this process alone: nothing is fetched from elsewhere.

use anser_proto::{FileId, rest};
use axum::{Router, middleware};
use utoipa::{
    Modify, Number, OpenApi,
    openapi::{
        Content, PathItem, Ref, RefOr, Response, Schema, Server,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{App, conversation, extract, file, info, product, relation, session, user};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Anser",
        description = "REST of an Anser server. Ids are decimal strings, positions numbers, binary \
            values base64, times milliseconds since 1970 UTC. Unknown fields and parameters are \
            refused. Every error is application/problem+json with a stable code.",
    ),
    components(schemas(FileId, rest::Problem, relation::Verb)),
    modifiers(&Common),
)]
struct Document;

/// The routes, and the document that describes them on a server with this `api.page_max`.
pub(super) fn routes(page_max: usize) -> (Router<App>, utoipa::openapi::OpenApi) {
    let without_query = OpenApiRouter::new()
        .routes(routes!(user::register))
        .routes(routes!(user::me, user::update))
        .routes(routes!(user::change_password))
        .routes(routes!(user::by_id))
        .routes(routes!(session::login))
        .routes(routes!(session::logout))
        .routes(routes!(session::list))
        .routes(routes!(session::revoke))
        .routes(routes!(info::server))
        .routes(routes!(info::connectors))
        .routes(routes!(relation::list, relation::request))
        .routes(routes!(relation::act))
        .routes(routes!(conversation::list))
        .routes(routes!(conversation::snapshot))
        .routes(routes!(product::create_user))
        .routes(routes!(product::create_session))
        .routes(routes!(product::befriend, product::unfriend))
        .routes(routes!(product::send))
        .route_layer(middleware::from_fn(extract::refuse_query));
    let files = OpenApiRouter::new()
        .routes(routes!(file::describe, file::create))
        .routes(routes!(file::progress, file::add, file::give_up, file::fetch))
        .route_layer(middleware::from_fn(file::guard))
        .route_layer(middleware::from_fn(file::seal_off));
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(without_query)
        .merge(files)
        .routes(routes!(user::find))
        .routes(routes!(product::find_user))
        .routes(routes!(conversation::messages))
        .split_for_parts();
    Errors.modify(&mut document);
    Limits { page_max }.modify(&mut document);
    (router, document)
}

/// `/v1/openapi.json` and `/docs`.
pub(super) fn pages(document: utoipa::openapi::OpenApi) -> Router {
    let config = Config::new(["/v1/openapi.json"])
        // The validator is a web service.
        .validator_url("none")
        .try_it_out_enabled(true);
    SwaggerUi::new("/docs").url("/v1/openapi.json", document).config(config).into()
}

/// How callers authenticate.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |about: &str| {
            let mut http = Http::new(HttpAuthScheme::Bearer);
            http.description = Some(about.into());
            SecurityScheme::Http(http)
        };
        document.servers = Some(vec![Server::new("/")]);
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(
            "device_token",
            bearer("The token of POST /v1/sessions; it is one device of one user."),
        );
        components.add_security_scheme(
            "server_key",
            bearer("The server key in the server's data folder; for a product's own server only."),
        );
    }
}

/// Every operation can answer with a problem.
struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
        let mut problem = Response::new("Refused: the code says why, the detail what to do");
        let content = RefOr::T(Content::new(Some(schema)));
        problem.content.insert("application/problem+json".into(), content);
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let responses = &mut operation.responses.responses;
            // Not `default`, which would also allow a success that is not described.
            responses.insert("4XX".into(), RefOr::T(problem.clone()));
            responses.insert("5XX".into(), RefOr::T(problem.clone()));
            // Said aloud, or readers take it for forgotten: what names no key needs none.
            operation.security.get_or_insert_default();
        }
    }
}

/// What the configuration limits, so that the document does not promise more.
struct Limits {
    page_max: usize,
}

impl Modify for Limits {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations = document.paths.paths.values_mut().flat_map(operations);
        for parameter in operations.filter_map(|operation| operation.parameters.as_mut()).flatten()
        {
            if let RefOr::T(parameter) = parameter
                && parameter.name == "limit"
                && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
            {
                schema.maximum = Some(Number::UInt(self.page_max));
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, head, options, post, put, patch, delete, .. } = item;
    [get, head, options, post, put, patch, delete].into_iter().filter_map(Option::as_mut)
}
