//! `#[derive(FromRow)]` of the crate `metadata`: a struct whose fields are named as the columns of a statement.

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, parse_macro_input};

/// Makes `crate::row::FromRow` for a struct with named fields: each is taken from the column of its name, or, where it is such a struct itself,
/// from the same row.
#[proc_macro_derive(FromRow)]
pub fn from_row(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    let name = &item.ident;
    let Data::Struct(data) = &item.data else {
        return refusal(&item);
    };
    let Fields::Named(fields) = &data.fields else {
        return refusal(&item);
    };
    let fields = fields.named.iter().map(|field| &field.ident);
    quote! {
        impl crate::row::FromRow for #name {
            fn from_row(row: &mut crate::row::Row<'_>) -> Result<Self, crate::error::DriverError> {
                Ok(Self { #(#fields: row.take(stringify!(#fields))?),* })
            }
        }

        impl crate::row::Column for #name {
            fn take(row: &mut crate::row::Row<'_>, _: &'static str) -> Result<Self, crate::error::DriverError> {
                <Self as crate::row::FromRow>::from_row(row)
            }
        }
    }
    .into()
}

fn refusal(item: &DeriveInput) -> TokenStream {
    syn::Error::new_spanned(&item.ident, "a row is a struct with named fields")
        .into_compile_error()
        .into()
}
