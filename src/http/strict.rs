//! Says in the specification what every body keeps to: a field that is not described is refused.

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::schema::{AdditionalProperties, AllOf, ArrayItems};
use utoipa::openapi::{Object, OpenApi, PathItem, RefOr, Required, Schema};

/// How a route describes a body that is optional; its type says so to the server.
const OPTIONAL: &str = "May be left out.";

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Closes every object that a request body is made of. One without fields of its own is the caller's: it stays open.
pub fn close_bodies(specification: &mut OpenApi) {
    let mut names = Vec::new();
    specification.paths.paths.values().for_each(|item| bodies(item, &mut names));
    let Some(components) = &mut specification.components else {
        return;
    };
    let described = components.schemas.clone();
    let mut closed = BTreeSet::new();
    while let Some(name) = names.pop() {
        if closed.insert(name.clone())
            && let Some(schema) = components.schemas.get_mut(&name)
        {
            close(schema, &described, &mut names);
        }
    }
}

/// Says of the bodies that are described as optional that they are.
pub fn free_optional_bodies(specification: &mut OpenApi) {
    let posts = specification.paths.paths.values_mut().filter_map(|item| item.post.as_mut());
    for body in posts.filter_map(|operation| operation.request_body.as_mut()) {
        if let RefOr::T(body) = body
            && body.description.as_deref() == Some(OPTIONAL)
        {
            body.required = Some(Required::False);
        }
    }
}

/// The names of the schemas of the bodies of a path.
fn bodies(item: &PathItem, names: &mut Vec<String>) {
    for operation in [&item.get, &item.put, &item.post, &item.patch, &item.delete].into_iter().flatten() {
        let Some(RefOr::T(body)) = &operation.request_body else { continue };
        for content in body.content.values() {
            let RefOr::T(content) = content else { continue };
            names.extend(content.schema.as_ref().and_then(name));
        }
    }
}

fn name(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(_) => None,
    }
}

/// Closes a schema and what lies in it, and names what it refers to.
fn close(schema: &mut RefOr<Schema>, described: &Schemas, names: &mut Vec<String>) {
    names.extend(name(schema));
    let RefOr::T(schema) = schema else {
        return;
    };
    if let Schema::AllOf(all) = schema {
        // Of several objects in one, each alone would refuse the fields of the others.
        *schema = Schema::Object(merged(all, described));
    }
    match schema {
        Schema::Object(object) if !object.properties.is_empty() => {
            object.properties.values_mut().for_each(|property| close(property, described, names));
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        Schema::OneOf(choice) => choice.items.iter_mut().for_each(|item| close(item, described, names)),
        Schema::AnyOf(choice) => choice.items.iter_mut().for_each(|item| close(item, described, names)),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                close(items, described, names);
            }
        }
        _ => {}
    }
}

/// One object with the fields of all.
fn merged(all: &AllOf, described: &Schemas) -> Object {
    let mut whole = Object::default();
    whole.description.clone_from(&all.description);
    for item in &all.items {
        let item = name(item).and_then(|name| described.get(&name)).unwrap_or(item);
        if let RefOr::T(Schema::Object(part)) = item {
            whole.properties.extend(part.properties.clone());
            whole.required.extend(part.required.clone());
        }
    }
    whole
}
